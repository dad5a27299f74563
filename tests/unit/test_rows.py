from affect.errors import BackendError, ErrorCode, FrameError
from affect.rows import COLUMNS, error_line, flat_row


def test_a_frame_that_failed_has_its_code_and_no_values() -> None:
    row = flat_row(error_line(FrameError("no picture"), 3, 0.6), "a.mp4")
    assert tuple(row) == COLUMNS
    assert {name: value for name, value in row.items() if value is not None} == {
        "file": "a.mp4",
        "t": 0.6,
        "frame": 3,
        "faces": 0,
        "error": "bad_image",
    }


def test_a_face_that_could_not_be_classified_says_so() -> None:
    error = BackendError("no answer", code=ErrorCode.BACKEND_BAD_OUTPUT)
    line = error_line(error, 0, 0.0) | {"box": [1, 2, 3, 4], "warnings": [[error.code.value, error.message]]}
    del line["error"]
    row = flat_row(line, "a.mp4")
    assert (row["x0"], row["y1"], row["emotion_happy"], row["error"]) == (1, 4, None, "backend_bad_output")

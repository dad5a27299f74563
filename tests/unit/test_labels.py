from affect.labels import EMOTIONS, STATES, Emotion, LearnerState


def test_emotions_follow_the_label_numbers_of_fer2013() -> None:
    assert [e.value for e in EMOTIONS] == ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]


def test_states_are_the_seven_of_autotutor_in_the_order_of_the_tables() -> None:
    assert [s.value for s in STATES] == [
        "neutral",
        "engagement",
        "confusion",
        "frustration",
        "boredom",
        "delight",
        "surprise",
    ]


def test_labels_are_their_own_wire_names() -> None:
    assert f"{Emotion.HAPPY}" == "happy"
    assert f"{LearnerState.BOREDOM}" == "boredom"

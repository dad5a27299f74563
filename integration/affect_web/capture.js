// @ts-check
/** Pictures from the camera, a video file or a picture file, as JPEG at a chosen rate. */

const LONG_SIDE = 640;
const JPEG_QUALITY = 0.85;

/** @typedef {"camera" | "video" | "picture"} SourceKind */

/**
 * @typedef {object} CaptureOptions
 * @property {HTMLVideoElement} video Shows camera and video files.
 * @property {HTMLImageElement} still Shows picture files.
 * @property {(jpeg: Blob, t: number) => void} onFrame
 * @property {(kind: SourceKind) => void} onEnd The file has ended or the camera went away.
 * @property {number} [fps]
 */

/** Whether this page may ask for a camera; browsers offer it only to https: and to the own machine. */
export function cameraOffered() {
  return Boolean(navigator.mediaDevices?.getUserMedia);
}

/** Seconds on the clock of all frames; never goes back. */
export function now() {
  return performance.now() / 1000;
}

/**
 * Return the size of a frame: the source's, scaled down to the longest side allowed.
 * @param {number} width
 * @param {number} height
 * @returns {[number, number]}
 */
export function frameSize(width, height) {
  const scale = Math.min(1, LONG_SIDE / Math.max(width, height));
  return [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
}

/** One source of pictures at a time: open it, then `run()`. */
export class Capture {
  /** What is open. @type {SourceKind | null} */
  kind = null;

  #video;
  #still;
  #onFrame;
  #onEnd;
  #fps;
  #canvas = document.createElement("canvas");
  #encoding = false;
  /** Where the video stood when its last picture was taken. */
  #shownAt = -1;
  /** Grows with every open and stop, so that a late answer is recognised. */
  #turn = 0;
  /** @type {MediaStream | null} */
  #stream = null;
  /** @type {string | null} */
  #address = null;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #timer;

  /** @param {CaptureOptions} options */
  constructor({ video, still, onFrame, onEnd, fps = 5 }) {
    this.#video = video;
    this.#still = still;
    this.#onFrame = onFrame;
    this.#onEnd = onEnd;
    this.#fps = fps;
    video.addEventListener("ended", () => this.#ended("video"));
  }

  get fps() {
    return this.#fps;
  }

  set fps(value) {
    this.#fps = value;
    if (this.#timer !== undefined) this.run();
  }

  /** Width and height of the source's pictures; 0 before it is open. */
  get size() {
    if (this.kind === "picture") return [this.#still.naturalWidth, this.#still.naturalHeight];
    return [this.#video.videoWidth, this.#video.videoHeight];
  }

  /**
   * Ask for the camera and show it.
   * @returns {Promise<boolean>} False when something else was opened, or all was stopped, in the meantime.
   */
  async openCamera() {
    this.stop();
    const turn = this.#turn;
    const asked = navigator.mediaDevices.getUserMedia({
      audio: false,
      video: { facingMode: "user", width: { ideal: LONG_SIDE }, height: { ideal: 480 } },
    });
    // What becomes of a question that was asked before something else was opened is of no account.
    const stream = await asked.catch((error) => {
      if (turn === this.#turn) throw error;
      return null;
    });
    if (!stream || turn !== this.#turn) {
      if (stream) stopTracks(stream);
      return false;
    }
    this.#stream = stream;
    stream.getVideoTracks()[0].addEventListener("ended", () => this.#ended("camera"));
    this.#video.srcObject = stream;
    return this.#play("camera", turn);
  }

  /**
   * Open a video or picture file and show it.
   * @param {File} file
   * @returns {Promise<boolean>} False when something else was opened, or all was stopped, in the meantime.
   */
  async openFile(file) {
    this.stop();
    const turn = this.#turn;
    this.#address = URL.createObjectURL(file);
    if (file.type.startsWith("image/")) {
      this.#still.src = this.#address;
      await this.#orStop(this.#still.decode(), turn);
      if (turn === this.#turn) this.kind = "picture";
      return turn === this.#turn;
    }
    this.#video.src = this.#address;
    return this.#play("video", turn);
  }

  /** Begin to hand out frames, or go on at another rate. */
  run() {
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.#tick(), 1000 / this.#fps);
  }

  /** Let go of camera, file and picture. */
  stop() {
    this.#turn += 1;
    this.#shownAt = -1;
    this.kind = null;
    clearInterval(this.#timer);
    this.#timer = undefined;
    if (this.#stream) stopTracks(this.#stream);
    this.#stream = null;
    this.#video.pause();
    this.#video.srcObject = null;
    this.#video.removeAttribute("src");
    this.#video.load();
    this.#still.removeAttribute("src");
    if (this.#address) URL.revokeObjectURL(this.#address);
    this.#address = null;
    this.#canvas.width = this.#canvas.height = 0;
  }

  /**
   * @param {SourceKind} kind
   * @param {number} turn
   */
  async #play(kind, turn) {
    await this.#orStop(this.#video.play(), turn);
    if (turn === this.#turn) this.kind = kind;
    return turn === this.#turn;
  }

  /**
   * Wait for a source; when it fails let go of it, unless another has taken its place.
   * @param {Promise<void>} opening
   * @param {number} turn
   */
  async #orStop(opening, turn) {
    try {
      await opening;
    } catch (error) {
      if (turn !== this.#turn) return;
      this.stop();
      throw error;
    }
  }

  /** @param {SourceKind} kind */
  #ended(kind) {
    if (this.kind !== kind) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#onEnd(kind);
  }

  #tick() {
    const [width, height] = this.size;
    const source = this.kind === "picture" ? this.#still : this.#video;
    const ready = source === this.#still || this.#video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA;
    if (this.#encoding || !ready || !width || !height) return;
    if (source === this.#video) {
      // A picture that stands still because the browser paused it or the camera stalled is no evidence.
      if (this.#video.currentTime === this.#shownAt) return;
      this.#shownAt = this.#video.currentTime;
    }
    const turn = this.#turn;
    const t = now();
    [this.#canvas.width, this.#canvas.height] = frameSize(width, height);
    this.#canvas.getContext("2d", { alpha: false })?.drawImage(source, 0, 0, this.#canvas.width, this.#canvas.height);
    this.#encoding = true;
    const hand = (/** @type {Blob | null} */ jpeg) => {
      this.#encoding = false;
      if (jpeg && turn === this.#turn) this.#onFrame(jpeg, t);
    };
    this.#canvas.toBlob(hand, "image/jpeg", JPEG_QUALITY);
  }
}

/** @param {MediaStream} stream */
function stopTracks(stream) {
  for (const track of stream.getTracks()) track.stop();
}

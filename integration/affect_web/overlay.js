// @ts-check
/** Boxes, landmarks and track ids over the picture. */

/** @typedef {import("./affect-client.js").FaceMessage} FaceMessage */
/** @typedef {import("./affect-client.js").Observation} Observation */

/** @typedef {(x: number, y: number) => [number, number]} Placer From pixels of the frame as sent to the canvas's. */

const LABEL_PX = 13;
const LEARNER = "#ffd166";
const OTHER = "#ffffff";
const SHADE = "rgb(0 0 0 / 70%)";

/** Canvas over the picture; it covers the picture exactly. */
export class Overlay {
  #canvas;
  /** @type {CanvasRenderingContext2D} */
  #pen;

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.#canvas = canvas;
    this.#pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  }

  clear() {
    this.#canvas.width = this.#canvas.height = 0;
  }

  /**
   * @param {Observation} observation
   * @param {boolean} mirrored Whether the picture is shown as in a mirror. Positions follow, text stays readable.
   */
  draw(observation, mirrored) {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const ratio = window.devicePixelRatio || 1;
    this.#canvas.width = Math.round(width * ratio);
    this.#canvas.height = Math.round(height * ratio);
    this.#pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    const scaleX = width / observation.width;
    const scaleY = height / observation.height;
    /** @type {Placer} */
    const place = (x, y) => [mirrored ? width - x * scaleX : x * scaleX, y * scaleY];
    const others = observation.faces.filter((face) => face.track_id !== observation.followed);
    for (const face of others) this.#drawFace(face, false, place);
    const learner = observation.faces.find((face) => face.track_id === observation.followed);
    if (learner) this.#drawFace(learner, true, place);
  }

  /**
   * @param {FaceMessage} face
   * @param {boolean} followed
   * @param {Placer} place
   */
  #drawFace(face, followed, place) {
    const [x0, y0, x1, y1] = face.box;
    const [ax, top] = place(x0, y0);
    const [bx, bottom] = place(x1, y1);
    const left = Math.min(ax, bx);
    const box = /** @type {const} */ ([left, top, Math.abs(bx - ax), bottom - top]);
    const pen = this.#pen;
    pen.setLineDash(followed ? [] : [6, 4]);
    const width = followed ? 3 : 1.5;
    pen.strokeStyle = SHADE;
    pen.lineWidth = width + 2;
    pen.strokeRect(...box);
    pen.strokeStyle = followed ? LEARNER : OTHER;
    pen.lineWidth = width;
    pen.strokeRect(...box);
    this.#drawLandmarks(face.landmarks ?? [], followed, place);
    this.#drawLabel(followed ? `learner · ${face.track_id}` : `face · ${face.track_id}`, left, top, bottom);
  }

  /**
   * @param {[number, number][]} landmarks
   * @param {boolean} followed
   * @param {Placer} place
   */
  #drawLandmarks(landmarks, followed, place) {
    this.#pen.setLineDash([]);
    this.#pen.lineWidth = 1;
    this.#pen.strokeStyle = SHADE;
    this.#pen.fillStyle = followed ? LEARNER : OTHER;
    for (const [x, y] of landmarks) {
      this.#pen.beginPath();
      this.#pen.arc(...place(x, y), followed ? 3 : 2, 0, 2 * Math.PI);
      this.#pen.fill();
      this.#pen.stroke();
    }
  }

  /**
   * Write the label above the box, or below it where there is no room.
   * @param {string} text
   * @param {number} left
   * @param {number} top
   * @param {number} bottom
   */
  #drawLabel(text, left, top, bottom) {
    const pen = this.#pen;
    pen.font = `600 ${LABEL_PX}px system-ui, sans-serif`;
    pen.textBaseline = "middle";
    const width = pen.measureText(text).width + 12;
    const height = LABEL_PX + 8;
    const x = Math.max(0, Math.min(left, this.#canvas.clientWidth - width));
    const below = Math.min(bottom + 3, this.#canvas.clientHeight - height);
    const y = top >= height + 3 ? top - height - 3 : below;
    pen.fillStyle = SHADE;
    pen.fillRect(x, y, width, height);
    pen.fillStyle = OTHER;
    pen.fillText(text, x + 6, y + height / 2);
  }
}

// @ts-check
/**
 * Consent and pictures. One rule holds throughout: either the consent panel is shown, and this page has no grant and
 * captures nothing, or the picture is shown, with the button that withdraws.
 */

import { Capture, cameraOffered } from "./capture.js";
import { byId, part } from "./dom.js";

/** @typedef {import("./affect-client.js").AffectClient} AffectClient */
/** @typedef {import("./affect-client.js").Context} Context */
/** @typedef {import("./capture.js").SourceKind} SourceKind */

const NO_CAMERA =
  "The browser offers no camera to this page: it needs https: or an address on this machine. " +
  "You can use a video or picture file instead.";

/** @type {Record<string, string>} */
const PROBLEMS = {
  NotAllowedError: "The browser did not allow the camera. You can allow it in its settings, or use a file.",
  NotFoundError: "No camera was found. You can use a video or picture file instead.",
  NotReadableError: "The camera is in use by another program. You can use a video or picture file instead.",
  NotSupportedError: "The browser cannot read this file.",
  EncodingError: "The browser cannot read this file.",
};

const panel = part("consent-panel");
const running = part("running");
const stage = part("stage");
const video = byId("video", HTMLVideoElement);
const still = byId("still", HTMLImageElement);
const fileInput = byId("file-input", HTMLInputElement);
const fpsSelect = byId("fps-select", HTMLSelectElement);

/**
 * Say something about the picture; read out by screen readers when it is new.
 * @param {string} message
 * @param {boolean} [problem]
 */
export function note(message, problem = false) {
  const place = part("note");
  place.classList.toggle("problem", problem);
  if (place.textContent !== message) place.textContent = message;
}

/** The consent panel, the picture that takes its place, and the ways to get from one to the other. */
export class ConsentGate {
  #client;
  #capture;
  #defaultsShown = false;
  #onChange;

  /**
   * @param {AffectClient} client
   * @param {object} hooks
   * @param {() => void} hooks.onFrame A frame was sent or dropped.
   * @param {() => void} hooks.onChange The source changed or is gone; what was found in its pictures is out of date.
   */
  constructor(client, { onFrame, onChange }) {
    this.#client = client;
    this.#onChange = onChange;
    this.#capture = new Capture({
      video,
      still,
      fps: Number(fpsSelect.value),
      onEnd: (kind) => this.#ended(kind),
      onFrame: (jpeg, t) => {
        client.sendFrame(jpeg, t);
        onFrame();
      },
    });
    this.#listen();
    if (cameraOffered()) return;
    byId("consent-start", HTMLButtonElement).disabled = true;
    byId("use-camera", HTMLButtonElement).disabled = true;
    note(NO_CAMERA);
  }

  /** Whether the person has allowed this page to send pictures. */
  get granted() {
    return !running.hidden;
  }

  /** Whether the picture is shown as in a mirror. */
  get mirrored() {
    return this.#capture.kind === "camera";
  }

  /** Send as many frames as are chosen, but no more than the service takes. */
  setRate() {
    this.#capture.fps = Math.min(Number(fpsSelect.value), this.#client.welcome?.limits.max_fps ?? Infinity);
  }

  /**
   * Stop capturing, take the grant back, clear the picture and show the consent panel.
   * @param {string} message
   * @param {boolean} [problem]
   */
  withdraw(message, problem = false) {
    this.#capture.stop();
    if (this.granted) this.#client.sendConsent(false);
    const hadFocus = running.contains(document.activeElement);
    running.hidden = true;
    panel.hidden = false;
    if (hadFocus) (cameraOffered() ? part("consent-start") : fileInput).focus();
    note(message, problem);
    this.#onChange();
  }

  #listen() {
    const useCamera = () => void this.#allow(() => this.#capture.openCamera());
    part("consent-start").addEventListener("click", useCamera);
    part("use-camera").addEventListener("click", useCamera);
    part("use-file").addEventListener("click", () => fileInput.click());
    part("withdraw").addEventListener("click", () =>
      this.withdraw("Consent is withdrawn. Nothing is captured any more."),
    );
    fileInput.addEventListener("change", () => {
      this.#useFile(fileInput.files?.[0]);
      fileInput.value = "";
    });
    fpsSelect.addEventListener("change", () => this.setRate());
    video.addEventListener("resize", () => this.#fitStage());
    this.#listenToDrops();
  }

  #listenToDrops() {
    const target = part("drop-target");
    const carriesFile = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes("Files") ?? false;
    document.addEventListener("dragover", (event) => {
      if (!carriesFile(event)) return;
      event.preventDefault();
      target.hidden = false;
    });
    document.addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) target.hidden = true;
    });
    document.addEventListener("drop", (event) => {
      target.hidden = true;
      if (!carriesFile(event)) return;
      event.preventDefault();
      this.#useFile(event.dataTransfer?.files[0]);
    });
  }

  /** @param {File | undefined} file */
  #useFile(file) {
    if (file) void this.#allow(() => this.#capture.openFile(file));
  }

  /**
   * Open a source; only when it is there tell the service that its pictures may be processed, and send them.
   * @param {() => Promise<boolean>} open
   */
  async #allow(open) {
    if (!byId("jurisdiction", HTMLInputElement).reportValidity()) return;
    note("Opening …");
    try {
      if (!(await open())) return;
    } catch (error) {
      this.withdraw(problemWords(error), true);
      return;
    }
    this.#onChange();
    this.#client.connect();
    this.#client.sendConsent(true, choices());
    this.#showSource();
    this.#capture.run();
  }

  #showSource() {
    const hadFocus = panel.contains(document.activeElement);
    stage.classList.toggle("mirrored", this.mirrored);
    video.hidden = this.#capture.kind === "picture";
    still.hidden = !video.hidden;
    panel.hidden = true;
    running.hidden = false;
    this.#fitStage();
    if (hadFocus) part("withdraw").focus();
    note(this.mirrored ? "The camera is on and its pictures are being sent." : "The file's pictures are being sent.");
  }

  /**
   * Show what the service assumes about where it is used; what the person chose stays.
   * @param {{context: Context, jurisdiction: string}} defaults
   */
  setDefaults({ context, jurisdiction }) {
    if (this.#defaultsShown) return;
    this.#defaultsShown = true;
    byId("context", HTMLSelectElement).value = context;
    const field = byId("jurisdiction", HTMLInputElement);
    field.value ||= jurisdiction;
  }

  /** Give the stage the picture's shape, so that the overlay covers it exactly. */
  #fitStage() {
    const [width, height] = this.#capture.size;
    if (width && height) stage.style.setProperty("--ratio", String(width / height));
  }

  /** @param {SourceKind} kind */
  #ended(kind) {
    this.#onChange();
    note(kind === "camera" ? "The camera was disconnected." : "The file has ended. Choose another source, or stop.");
  }
}

function choices() {
  const context = /** @type {Context} */ (byId("context", HTMLSelectElement).value);
  const jurisdiction = byId("jurisdiction", HTMLInputElement).value.trim().toUpperCase() || undefined;
  return { context, jurisdiction, purpose: "Demonstration page" };
}

/** @param {unknown} error */
function problemWords(error) {
  if (!(error instanceof Error)) return `The source could not be opened: ${error}`;
  return PROBLEMS[error.name] ?? `The source could not be opened: ${error.message}`;
}

// @ts-check
/**
 * Learner states over the last two minutes. Seven lines that can be told apart without colour: each has its own
 * dash pattern and its name at the right end. Colours are CSS custom properties `--state-NAME` of the canvas.
 */

import { mostProbable, percent, words } from "./words.js";

/** @typedef {import("./affect-client.js").EventData} EventData */
/** @typedef {{t: number, values: Record<string, number>}} Sample */
/** @typedef {{state: string, from: number, to: number | null}} Span Time for which a state was reported. */
/** @typedef {{left: number, right: number, top: number, bottom: number}} Plot */

/** @type {Record<string, number[]>} */
const DASHES = {
  neutral: [],
  engagement: [10, 4],
  confusion: [2, 3],
  frustration: [10, 3, 2, 3],
  boredom: [5, 5],
  delight: [14, 3, 2, 3, 2, 3],
  surprise: [1, 5],
};
const GAP_S = 3;
const MIN_STEP_S = 0.25;
const DESCRIBE_MS = 5000;
const FONT = "12px system-ui, sans-serif";
const LINE_PX = 14;

/** Chart on a canvas; drawn at most once an animation frame, and only when something changed. */
export class StateChart {
  #canvas;
  #pen;
  #states;
  #seconds;
  /** @type {Sample[]} */
  #samples = [];
  /** @type {Span[]} */
  #spans = [];
  #scheduled = false;
  #describedAt = -Infinity;

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {string[]} states
   * @param {number} [seconds] Width of the chart.
   */
  constructor(canvas, states, seconds = 120) {
    this.#canvas = canvas;
    this.#pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    this.#states = states;
    this.#seconds = seconds;
    new ResizeObserver(() => this.invalidate()).observe(canvas);
    document.addEventListener("themechange", () => this.invalidate());
  }

  /** @param {string[]} states */
  setStates(states) {
    this.#states = states;
    this.invalidate();
  }

  /**
   * Add the probabilities of a moment.
   * @param {number} t Seconds on the frames' clock; when it goes back the chart begins anew.
   * @param {Record<string, number>} values
   */
  push(t, values) {
    const last = this.#samples.at(-1);
    if (last && t < last.t) this.clear();
    const tooSoon = last && this.#samples.length > 1 && t - this.#samples[this.#samples.length - 2].t < MIN_STEP_S;
    if (tooSoon) this.#samples.pop();
    this.#samples.push({ t, values });
    this.#forget(t - this.#seconds);
    this.#describe(values);
    this.invalidate();
  }

  /**
   * Mark the onset or offset of a state; other events are not marked.
   * @param {EventData} event
   */
  mark({ state, phase, t, t_start: from, t_end: to }) {
    const known = this.#spans.findLast((span) => span.state === state && (span.to === null || span.from === from));
    if (phase === "onset" && !known) this.#spans.push({ state, from, to: null });
    else if (phase === "offset" && known) known.to = to ?? t;
    else if (phase === "offset") this.#spans.push({ state, from, to: to ?? t });
    else return;
    this.invalidate();
  }

  /**
   * Close the spans of states that are not open any more; a replayed offset may still say when they really ended.
   * @param {string[]} states
   * @param {number | null} t
   */
  keepOpen(states, t) {
    const end = t ?? this.#samples.at(-1)?.t;
    for (const span of this.#spans) if (span.to === null && !states.includes(span.state)) span.to = end ?? span.from;
    this.invalidate();
  }

  clear() {
    this.#samples = [];
    this.#spans = [];
    this.#describedAt = -Infinity;
    this.#canvas.setAttribute("aria-label", "No estimate yet");
    this.invalidate();
  }

  /** Draw with the next animation frame. */
  invalidate() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      this.#draw();
    });
  }

  /** @param {number} before */
  #forget(before) {
    while (this.#samples.length > 1 && this.#samples[1].t < before) this.#samples.shift();
    this.#spans = this.#spans.filter(({ to }) => to === null || to >= before);
  }

  /** @param {Record<string, number>} values */
  #describe(values) {
    const best = mostProbable(values);
    if (!best || performance.now() - this.#describedAt < DESCRIBE_MS) return;
    this.#describedAt = performance.now();
    this.#canvas.setAttribute("aria-label", `Most likely ${words(best[0])}, ${percent(best[1])} percent`);
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    if (!width || !height) return;
    const ratio = window.devicePixelRatio || 1;
    this.#canvas.width = Math.round(width * ratio);
    this.#canvas.height = Math.round(height * ratio);
    const pen = this.#pen;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.font = FONT;
    const labelWidth = Math.max(0, ...this.#states.map((state) => pen.measureText(words(state)).width));
    const plot = { left: 40, right: width - labelWidth - 22, top: LINE_PX + 6, bottom: height - LINE_PX - 8 };
    const style = getComputedStyle(this.#canvas);
    const colour = (/** @type {string} */ name) =>
      style.getPropertyValue(`--${name}`).trim() || style.getPropertyValue("--text").trim();
    this.#drawGrid(plot, colour);
    const last = this.#samples.at(-1);
    if (!last) {
      const middle = /** @type {const} */ ([(plot.left + plot.right) / 2, (plot.top + plot.bottom) / 2]);
      this.#drawText("No estimate yet", ...middle, "center", colour("muted"));
      return;
    }
    const x = (/** @type {number} */ t) => plot.right - ((last.t - t) / this.#seconds) * (plot.right - plot.left);
    const y = (/** @type {number} */ p) => plot.bottom - p * (plot.bottom - plot.top);
    this.#drawSpans(plot, x, last.t, colour);
    pen.save();
    pen.beginPath();
    pen.rect(plot.left, plot.top - 2, plot.right - plot.left, plot.bottom - plot.top + 4);
    pen.clip();
    for (const state of this.#states) this.#drawLine(state, x, y, colour);
    pen.restore();
    this.#drawNames(plot, y, last.values, colour);
  }

  /**
   * @param {Plot} plot
   * @param {(name: string) => string} colour
   */
  #drawGrid(plot, colour) {
    const pen = this.#pen;
    pen.setLineDash([]);
    pen.lineWidth = 1;
    pen.strokeStyle = colour("grid");
    for (const share of [0, 25, 50, 75, 100]) {
      const y = Math.round(plot.bottom - (share / 100) * (plot.bottom - plot.top)) + 0.5;
      this.#stroke([plot.left, y], [plot.right, y]);
      if (share % 50 === 0) this.#drawText(`${share}%`, plot.left - 6, y, "right", colour("muted"));
    }
    const steps = plot.right - plot.left > 300 ? 4 : 2;
    for (let step = 0; step <= steps; step += 1) {
      const x = plot.left + (step / steps) * (plot.right - plot.left);
      const ago = this.#seconds * (1 - step / steps);
      this.#drawText(ago ? `−${ago} s` : "now", x, plot.bottom + LINE_PX, step ? "center" : "left", colour("muted"));
    }
  }

  /**
   * Draw a band from onset to offset with a tick at both ends, the name at the onset.
   * @param {Plot} plot
   * @param {(t: number) => number} x
   * @param {number} latest
   * @param {(name: string) => string} colour
   */
  #drawSpans(plot, x, latest, colour) {
    const pen = this.#pen;
    let free = plot.left;
    for (const { state, from, to } of this.#spans) {
      const left = Math.max(plot.left, x(from));
      const right = Math.min(plot.right, x(to ?? latest));
      if (right < plot.left || left > plot.right) continue;
      pen.fillStyle = pen.strokeStyle = colour(`state-${state}`);
      pen.globalAlpha = 0.12;
      pen.fillRect(left, plot.top, right - left, plot.bottom - plot.top);
      pen.globalAlpha = 1;
      pen.lineWidth = 1.5;
      pen.setLineDash([]);
      if (x(from) >= plot.left) this.#stroke([left, plot.top - 4], [left, plot.bottom]);
      pen.setLineDash([3, 3]);
      if (to !== null) this.#stroke([right, plot.top - 4], [right, plot.bottom]);
      if (left < free) continue;
      this.#drawText(words(state), left, plot.top - LINE_PX + 2, "left", colour(`state-${state}`));
      free = left + pen.measureText(words(state)).width + 8;
    }
  }

  /**
   * @param {string} state
   * @param {(t: number) => number} x
   * @param {(p: number) => number} y
   * @param {(name: string) => string} colour
   */
  #drawLine(state, x, y, colour) {
    const pen = this.#pen;
    pen.strokeStyle = colour(`state-${state}`);
    pen.lineWidth = 2;
    pen.setLineDash(DASHES[state] ?? []);
    pen.beginPath();
    let before = -Infinity;
    for (const { t, values } of this.#samples) {
      const point = /** @type {const} */ ([x(t), y(values[state] ?? 0)]);
      if (t - before > GAP_S) pen.moveTo(...point);
      else pen.lineTo(...point);
      before = t;
    }
    pen.stroke();
  }

  /**
   * Write each line's name at its end, moved apart where they would overlap.
   * @param {Plot} plot
   * @param {(p: number) => number} y
   * @param {Record<string, number>} values
   * @param {(name: string) => string} colour
   */
  #drawNames(plot, y, values, colour) {
    const ends = this.#states
      .map((state) => ({ state, end: y(values[state] ?? 0) }))
      .sort((a, b) => a.end - b.end);
    const places = spread(ends.map(({ end }) => end), LINE_PX, plot.top, plot.bottom);
    ends.forEach(({ state, end }, i) => {
      this.#pen.strokeStyle = colour(`state-${state}`);
      this.#pen.lineWidth = 1;
      this.#pen.setLineDash([]);
      this.#stroke([plot.right + 1, end], [plot.right + 12, places[i]]);
      this.#drawText(words(state), plot.right + 16, places[i], "left", colour(`state-${state}`));
    });
  }

  /**
   * @param {[number, number]} from
   * @param {[number, number]} to
   */
  #stroke(from, to) {
    this.#pen.beginPath();
    this.#pen.moveTo(...from);
    this.#pen.lineTo(...to);
    this.#pen.stroke();
  }

  /**
   * @param {string} text
   * @param {number} x
   * @param {number} y Middle of the text.
   * @param {CanvasTextAlign} align
   * @param {string} colour
   */
  #drawText(text, x, y, align, colour) {
    this.#pen.fillStyle = colour;
    this.#pen.textAlign = align;
    this.#pen.textBaseline = "middle";
    this.#pen.fillText(text, x, y);
  }
}

/**
 * Return places that keep a distance from each other and stay between two bounds, as near as they can.
 * @param {number[]} wanted Ascending.
 * @param {number} distance
 * @param {number} least
 * @param {number} most
 */
export function spread(wanted, distance, least, most) {
  const places = [...wanted];
  for (let i = 0; i < places.length; i += 1) {
    places[i] = Math.max(places[i], i ? places[i - 1] + distance : least);
  }
  for (let i = places.length - 1; i >= 0; i -= 1) {
    places[i] = Math.min(places[i], i < places.length - 1 ? places[i + 1] - distance : most);
  }
  return places;
}

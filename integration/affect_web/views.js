// @ts-check
/** Parts of the page that show one thing each. */

import { eventSentence, percent, phaseWords, reasonWords, words } from "./words.js";

/** @typedef {import("./affect-client.js").CloudEvent} CloudEvent */

const EVENTS_KEPT = 200;
const ANNOUNCEMENTS_KEPT = 5;

/**
 * @param {string} tag
 * @param {string} className
 * @param {string} [text]
 */
function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

/** Sentences for screen readers; a live region that nobody sees. */
export class Announcer {
  #region;

  /** @param {HTMLElement} region */
  constructor(region) {
    this.#region = region;
  }

  /** @param {string} sentence */
  say(sentence) {
    this.#region.append(element("p", "", sentence));
    while (this.#region.childElementCount > ANNOUNCEMENTS_KEPT) this.#region.firstElementChild?.remove();
  }
}

/** One meter for each emotion; never announced by itself. */
export class EmotionBars {
  #container;
  /** @type {Map<string, {row: HTMLElement, fill: HTMLElement, value: HTMLElement}>} */
  #rows = new Map();

  /** @param {HTMLElement} container */
  constructor(container) {
    this.#container = container;
  }

  /** @param {string[]} labels */
  setLabels(labels) {
    if (labels.join() === [...this.#rows.keys()].join()) return;
    this.#rows = new Map(labels.map((label) => [label, this.#makeRow(label)]));
    this.#container.replaceChildren(...[...this.#rows.values()].map(({ row }) => row));
    this.show(null);
  }

  /** @param {Record<string, number> | null} emotions */
  show(emotions) {
    for (const [label, { row, fill, value }] of this.#rows) {
      const share = emotions ? percent(emotions[label] ?? 0) : 0;
      row.setAttribute("aria-valuenow", String(share));
      row.setAttribute("aria-valuetext", emotions ? `${share} percent` : "not known");
      fill.style.transform = `scaleX(${share / 100})`;
      value.textContent = emotions ? `${share} %` : "–";
    }
  }

  /** @param {string} label */
  #makeRow(label) {
    const row = element("div", "bar");
    row.dataset.emotion = label;
    row.setAttribute("role", "meter");
    row.setAttribute("aria-label", words(label));
    row.setAttribute("aria-valuemin", "0");
    row.setAttribute("aria-valuemax", "100");
    const fill = element("span", "bar-fill");
    const track = element("span", "bar-track");
    const value = element("span", "bar-value");
    track.append(fill);
    row.append(element("span", "bar-label", words(label)), track, value);
    return { row, fill, value };
  }
}

/** Learner events, newest first. */
export class EventList {
  #list;
  #empty;
  #announcer;

  /**
   * @param {HTMLElement} list
   * @param {HTMLElement} empty Shown while there are none.
   * @param {Announcer} announcer
   */
  constructor(list, empty, announcer) {
    this.#list = list;
    this.#empty = empty;
    this.#announcer = announcer;
  }

  /**
   * Show an event. Updates and events of the past are not announced.
   * @param {CloudEvent} event
   * @param {boolean} replayed
   */
  add(event, replayed) {
    this.#empty.hidden = true;
    this.#list.prepend(this.#makeItem(event, replayed));
    while (this.#list.childElementCount > EVENTS_KEPT) this.#list.lastElementChild?.remove();
    const { phase, state } = event.data;
    if (!replayed && (phase === "onset" || phase === "offset" || state === "presence")) {
      this.#announcer.say(eventSentence(event));
    }
  }

  /**
   * @param {CloudEvent} event
   * @param {boolean} replayed
   */
  #makeItem(event, replayed) {
    const { state, phase, confidence, reason } = event.data;
    const item = element("li", "event");
    item.dataset.state = state;
    item.dataset.phase = phase;
    const time = document.createElement("time");
    time.dateTime = event.time;
    time.textContent = new Date(event.time).toLocaleTimeString([], { hourCycle: "h23" });
    item.append(
      time,
      element("strong", "event-state", words(state)),
      element("span", "event-phase", phaseWords(phase)),
    );
    const remarks = [reason && reasonWords(reason), replayed && "from before"].filter(Boolean).join(", ");
    if (remarks) item.append(element("span", "event-reason", remarks));
    item.append(element("span", "event-confidence", `${percent(confidence)} %`));
    return item;
  }
}

/**
 * Fill a row with one button for each name; a row that has them already keeps them, and the focus.
 * @param {HTMLElement} row
 * @param {string[]} names
 * @param {(name: string) => void} onPress
 */
export function showButtons(row, names, onPress) {
  if (names.join() === [...row.children].map((child) => /** @type {HTMLElement} */ (child).dataset.name).join()) return;
  const buttons = names.map((name) => {
    const button = /** @type {HTMLButtonElement} */ (element("button", "small", words(name)));
    button.type = "button";
    button.dataset.name = name;
    button.addEventListener("click", () => onPress(name));
    return button;
  });
  row.replaceChildren(...buttons);
}

// @ts-check
/** The words and numbers that the page uses for those of the protocol. */

/** @typedef {import("./affect-client.js").CloudEvent} CloudEvent */

/** @type {Record<string, string>} */
const PHASES = { onset: "begins", update: "continues", offset: "ends", present: "in view", absent: "out of view" };
/** @type {Record<string, string>} */
const REASONS = {
  decay: "faded",
  face_lost: "face lost",
  no_evidence: "face unreadable",
  consent_revoked: "consent withdrawn",
  session_end: "session ended",
};

/** @param {string} name A word of the protocol such as `hint_request`. */
export function words(name) {
  return name.replaceAll("_", " ");
}

/** @param {number} p Probability 0-1. */
export function percent(p) {
  return Math.round(100 * p);
}

/**
 * @param {string} presence
 * @param {string} [evidence] What the last estimate rests on.
 */
export function presenceWords(presence, evidence) {
  if (presence === "absent") return "No face";
  if (presence !== "present") return "Not known yet";
  return evidence === "none" ? "Turned away / not readable" : "Face in view";
}

/**
 * Return the most probable entry.
 * @param {Record<string, number>} distribution
 * @returns {[string, number] | null}
 */
export function mostProbable(distribution) {
  const entries = Object.entries(distribution);
  return entries.length ? entries.reduce((best, entry) => (entry[1] > best[1] ? entry : best)) : null;
}

/**
 * Return a number with its sign, a real minus, and a fixed number of digits.
 * @param {number} value
 * @param {number} [digits]
 */
export function signed(value, digits = 0) {
  const text = Math.abs(value).toFixed(digits);
  if (Number(text) === 0) return text;
  return (value < 0 ? "−" : "+") + text;
}

/** @param {string} phase */
export function phaseWords(phase) {
  return PHASES[phase] ?? words(phase);
}

/** @param {string} reason */
export function reasonWords(reason) {
  return REASONS[reason] ?? words(reason);
}

/**
 * Say an event in one sentence.
 * @param {CloudEvent} event
 */
export function eventSentence({ data }) {
  if (data.state === "presence") return `Face ${phaseWords(data.phase)}.`;
  const why = data.reason ? `, ${reasonWords(data.reason)}` : "";
  return `${words(data.state)} ${phaseWords(data.phase)}, ${percent(data.confidence)} percent${why}.`;
}

// @ts-check
/** The page's controller: joins the client, the consent gate and the views. */

import { AffectClient } from "./affect-client.js";
import { StateChart } from "./chart.js";
import { ConsentGate, note } from "./consent.js";
import { byId, part } from "./dom.js";
import { Overlay } from "./overlay.js";
import { setUpTheme } from "./theme.js";
import { Announcer, EmotionBars, EventList, showButtons } from "./views.js";
import { mostProbable, percent, presenceWords, signed, words } from "./words.js";

/** @typedef {import("./affect-client.js").ConnectionState} ConnectionState */
/** @typedef {import("./affect-client.js").ServerMessage} ServerMessage */

const EMOTIONS = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"];
const STATES = ["neutral", "engagement", "confusion", "frustration", "boredom", "delight", "surprise"];
const UNAUTHORIZED = 4401;

const tokenForm = byId("token-form", HTMLFormElement);
const tokenInput = byId("token", HTMLInputElement);

const announcer = new Announcer(part("announcer"));
const bars = new EmotionBars(part("emotions"));
const events = new EventList(part("events"), part("no-events"), announcer);
const overlay = new Overlay(byId("overlay", HTMLCanvasElement));
const chart = new StateChart(byId("chart", HTMLCanvasElement), STATES);
const client = new AffectClient({
  url: new URL("ws", location.href).href.replace(/^http/, "ws"), // beside the page: a proxy may serve both under a path
  session: new URLSearchParams(location.search).get("session") || undefined,
  roles: ["learner", "tutor"],
  observations: true,
  client: "affect-web",
});
const gate = new ConsentGate(client, { onFrame: showDrops, onChange: clearFaces });

let serviceDrops = 0;
let errors = 0;
let announcedCode = "";

// What the service says

client.addEventListener("state", (event) => {
  const { detail } = /** @type {CustomEvent<ConnectionState>} */ (event);
  showConnection(detail);
  if (detail.state !== "open") clearFaces();
  if (detail.state === "closed" && gate.granted) gate.withdraw(detail.explanation ?? "", true);
});

/**
 * Listen to messages of one type.
 * @template {ServerMessage["type"]} T
 * @param {T} type
 * @param {(message: Extract<ServerMessage, {type: T}>) => void} handle
 */
function on(type, handle) {
  client.addEventListener(type, (event) => handle(/** @type {CustomEvent} */ (event).detail));
}

on("welcome", (welcome) => {
  part("session").textContent = welcome.session;
  part("backend").textContent = welcome.backend;
  bars.setLabels(welcome.labels);
  chart.setStates(welcome.states);
  showButtons(part("evidence"), welcome.evidence, tellEvidence);
  showButtons(part("correct"), welcome.states, tellState);
  gate.setRate();
  gate.setDefaults(welcome);
});

on("snapshot", ({ t, states, valence, arousal, presence, open }) => {
  chart.keepOpen(open.map(({ state }) => state), t);
  for (const { state, t_start } of open) chart.mark({ state, phase: "onset", t: t_start, t_start, t_end: null });
  if (states) showState(states);
  showMood(valence, arousal);
  part("presence").textContent = presenceWords(presence);
});

on("event", ({ event, replayed }) => {
  events.add(event, replayed);
  chart.mark(event.data);
});

on("observation", (observation) => {
  chart.push(observation.t, observation.states);
  showState(observation.states);
  showMood(observation.valence, observation.arousal);
  part("presence").textContent = presenceWords(observation.presence, observation.evidence);
  if (!gate.granted) return;
  overlay.draw(observation, gate.mirrored);
  showFace(observation.faces.find((face) => face.track_id === observation.followed) ?? null);
});

on("status", (status) => {
  part("fps").textContent = `${status.fps.toFixed(1)} fps`;
  const latency = status.latency_ms;
  part("latency").textContent = latency ? `${Math.round(latency.p50)} / ${Math.round(latency.p95)} ms` : "–";
  part("backend").textContent = `${client.welcome?.backend}${status.backend_ok ? "" : " (failing)"}`;
  serviceDrops = status.dropped;
  showDrops();
});

on("flow", ({ dropped, suggested_fps: fps }) => {
  serviceDrops = dropped;
  showDrops();
  note(`The service is behind; it suggests at most ${fps.toFixed(1)} frames a second.`);
});

on("error", ({ code, message }) => {
  // Frames that were on their way when consent was withdrawn are no news.
  if (code === "consent_required" && !gate.granted) return;
  errors += 1;
  part("error-count").textContent = String(errors);
  part("last-error").textContent = `${code}: ${message}`;
  if (code !== announcedCode) announcer.say(`Error: ${message}`);
  announcedCode = code;
  if (code === "policy_refused") gate.withdraw(message, true);
  if (code === "consent_required") gate.withdraw("The service has no consent for this session any more.", true);
});

// What the person does

/** @param {string} kind */
function tellEvidence(kind) {
  if (client.sendEvidence(kind)) announcer.say(`Told the model: ${words(kind)}.`);
}

/** @param {string} state */
function tellState(state) {
  if (client.sendCorrect(state)) announcer.say(`Told the model: you feel ${words(state)}.`);
}

part("reconnect").addEventListener("click", () => client.connect());

tokenForm.addEventListener("submit", (event) => {
  event.preventDefault();
  client.token = tokenInput.value;
  tokenInput.value = "";
  client.connect();
});

window.addEventListener("pagehide", () => client.bye("page left"));
window.addEventListener("pageshow", (event) => {
  if (event.persisted) client.connect();
});

// What the page shows

/** @param {ConnectionState} connection */
function showConnection({ state, code, explanation, retryInMs = 0 }) {
  const texts = {
    connecting: "connecting",
    open: "connected",
    closed: `closed. ${explanation}`,
    reconnecting: `reconnecting in ${(retryInMs / 1000).toFixed(1)} s. ${explanation}`,
  };
  part("connection").textContent = texts[state];
  part("connection").dataset.state = state;
  if (state === "open" || state === "closed") announcer.say(`Service ${texts[state]}`);
  for (const row of ["evidence", "correct"]) byId(row, HTMLFieldSetElement).disabled = state !== "open";
  const needsToken = state === "closed" && code === UNAUTHORIZED;
  if (state === "closed" || state === "open") {
    tokenForm.hidden = !needsToken;
    part("reconnect").hidden = state === "open" || needsToken;
  }
  if (needsToken) tokenInput.focus();
}

function clearFaces() {
  overlay.clear();
  showFace(null);
}

/** @param {import("./affect-client.js").FaceMessage | null} face */
function showFace(face) {
  bars.show(face?.emotions ?? null);
  const pose = face?.pose;
  part("pose").textContent = pose ? `${signed(pose.yaw)}°, ${signed(pose.pitch)}°, ${signed(pose.roll)}°` : "–";
}

/** @param {Record<string, number>} states */
function showState(states) {
  const best = mostProbable(states);
  if (best) part("state-now").textContent = `${words(best[0])}, ${percent(best[1])} %`;
}

/**
 * @param {number | null} valence
 * @param {number | null} arousal
 */
function showMood(valence, arousal) {
  part("valence").textContent = valence === null ? "–" : signed(valence, 2);
  part("arousal").textContent = arousal === null ? "–" : signed(arousal, 2);
}

function showDrops() {
  part("drops").textContent = `service ${serviceDrops}, page ${client.droppedFrames}`;
}

setUpTheme(part("theme-toggle"));
bars.setLabels(EMOTIONS);
client.connect();

// @ts-check
/**
 * Browser client of the websocket protocol `affect.v1`. No dependencies; works in any page:
 *
 *     import { AffectClient } from "./affect-client.js";
 *     const client = new AffectClient({ url: "ws://127.0.0.1:8765/ws", roles: ["tutor"] });
 *     client.addEventListener("event", ({ detail }) => use(detail.event.data));
 *     client.connect();
 *
 * Every message of the service is dispatched as a CustomEvent named after its `type`, the message in `detail`.
 * Messages of unknown type are ignored. `state` tells about the connection itself, see `ConnectionState`.
 */

/** @typedef {"learner" | "tutor"} Role */
/** @typedef {"self_directed" | "research" | "education_institution" | "workplace"} Context */
/** @typedef {"image/jpeg" | "image/png" | "image/webp"} Media */
/** @typedef {"unknown" | "present" | "absent"} Presence */

/**
 * @typedef {object} Hello First message to the service.
 * @property {"hello"} type
 * @property {string} protocol
 * @property {string} client Name and version of the client.
 * @property {Role[]} roles
 * @property {string} [session] Join or create this session; new when absent.
 * @property {string} [token]
 * @property {{after: number, run?: string}} [resume] `seq` of the last event this client has, and of which run.
 * @property {boolean} observations Also send an `observation` for every frame.
 */
/**
 * @typedef {object} Consent Grants or revokes the processing of pictures for this session.
 * @property {"consent"} type
 * @property {boolean} granted
 * @property {Context} [context]
 * @property {string} [jurisdiction] ISO 3166 country, or EU.
 * @property {string} [purpose]
 */
/**
 * @typedef {object} Evidence Something the host saw the learner do.
 * @property {"evidence"} type
 * @property {string} kind
 * @property {number} [t] Seconds on the session's clock, as in `observation.t`; now when absent.
 */
/**
 * @typedef {object} Correct Which state is true, says the learner or the tutor.
 * @property {"correct"} type
 * @property {string} state
 * @property {number} [t] Seconds on the session's clock, as in `observation.t`; now when absent.
 */
/**
 * @typedef {object} Ping
 * @property {"ping"} type
 * @property {number} id
 */
/**
 * @typedef {object} Bye Ends the session.
 * @property {"bye"} type
 * @property {string} [reason]
 */
/** @typedef {Hello | Consent | Evidence | Correct | Ping | Bye} ClientMessage */

/**
 * @typedef {object} FrameHeader JSON header of a binary frame.
 * @property {number} seq Growing within the session.
 * @property {number} t Capture time in seconds on the client's clock.
 * @property {Media} media
 */

/**
 * @typedef {object} Welcome Answer to `hello`.
 * @property {"welcome"} type
 * @property {string} protocol
 * @property {string} session
 * @property {{name: string, version: string}} server
 * @property {string} backend
 * @property {string} detector
 * @property {string[]} labels Emotions.
 * @property {string[]} states Learner states.
 * @property {string[]} evidence Kinds of host evidence this service knows.
 * @property {{max_message_bytes: number, max_pixels: number, min_side: number, max_fps: number}} limits
 * @property {number} heartbeat_s
 * @property {boolean} consent Whether this session has a grant.
 * @property {Context} context What holds when `consent` names no context.
 * @property {string} jurisdiction What holds when `consent` names none.
 * @property {string} run Identifies this life of the session; changes when the service restarts.
 * @property {boolean} resumed Whether `resume` was asked for and the session existed.
 */
/**
 * @typedef {object} Snapshot Where the session stands; sent after `welcome`.
 * @property {"snapshot"} type
 * @property {string} session
 * @property {number | null} t
 * @property {number} seq Of the last event.
 * @property {Record<string, number> | null} states
 * @property {number | null} valence
 * @property {number | null} arousal
 * @property {Presence} presence
 * @property {string} evidence What the last estimate rests on: face | host | none.
 * @property {{state: string, t_start: number}[]} open States that have begun and not ended.
 * @property {boolean} consent
 */
/**
 * @typedef {object} EventData What a learner event says.
 * @property {string} state A learner state, or `presence`.
 * @property {string} phase onset | update | offset | corrected; for presence present | absent.
 * @property {number} confidence
 * @property {Record<string, number>} states
 * @property {number | null} valence
 * @property {number | null} arousal
 * @property {number} t
 * @property {number} t_start
 * @property {number | null} t_end
 * @property {string | null} reason
 * @property {string} evidence
 * @property {string} model
 * @property {string} config
 * @property {number} seq
 */
/**
 * @typedef {object} CloudEvent
 * @property {"1.0"} specversion
 * @property {string} id
 * @property {string} source
 * @property {string} type
 * @property {string} subject
 * @property {string} time
 * @property {"application/json"} datacontenttype
 * @property {EventData} data
 */
/**
 * @typedef {object} EventMessage A learner event.
 * @property {"event"} type
 * @property {boolean} replayed
 * @property {CloudEvent} event
 */
/**
 * @typedef {object} FaceMessage A face of an observation.
 * @property {number} track_id
 * @property {[number, number, number, number]} box x0, y0, x1, y1 in pixels of the frame as sent.
 * @property {[number, number][] | null} landmarks
 * @property {number} score
 * @property {{yaw: number, pitch: number, roll: number} | null} pose Degrees.
 * @property {number} quality
 * @property {Record<string, number> | null} emotions
 */
/**
 * @typedef {object} Observation Everything about one frame.
 * @property {"observation"} type
 * @property {number} t
 * @property {number} seq
 * @property {number} width
 * @property {number} height
 * @property {FaceMessage[]} faces
 * @property {number | null} followed `track_id` of the learner.
 * @property {Record<string, number>} states
 * @property {number | null} valence
 * @property {number | null} arousal
 * @property {Presence} presence
 * @property {"face" | "host" | "none"} evidence
 * @property {number} latency_ms
 */
/**
 * @typedef {object} Status Sent regularly by the service.
 * @property {"status"} type
 * @property {number | null} t
 * @property {number} fps
 * @property {number} received
 * @property {number} dropped
 * @property {number} failed
 * @property {{p50: number, p95: number} | null} latency_ms
 * @property {Presence} presence
 * @property {?number} evidence_age_s Since a face could be read or the host told something.
 * @property {number} suppressed Onsets held back by the budget, in all.
 * @property {boolean} consent
 * @property {boolean} backend_ok
 */
/**
 * @typedef {object} Flow Frames were dropped; send fewer.
 * @property {"flow"} type
 * @property {number} dropped
 * @property {number} since_last
 * @property {number} suggested_fps
 */
/**
 * @typedef {object} ErrorMessage
 * @property {"error"} type
 * @property {string} code
 * @property {string} message
 * @property {boolean} fatal
 * @property {number | string | null} ref `seq` of the frame or `type` of the message.
 */
/**
 * @typedef {object} Pong
 * @property {"pong"} type
 * @property {number} id
 */
/** @typedef {Welcome | Snapshot | EventMessage | Observation | Status | Flow | ErrorMessage | Pong} ServerMessage */

/**
 * @typedef {object} ConnectionState Detail of the `state` event.
 * @property {"connecting" | "open" | "closed" | "reconnecting"} state `open` means that the service said welcome.
 * @property {number} [code] Close code, for `closed` and `reconnecting`.
 * @property {string} [explanation] The close code in words.
 * @property {string} [reason] What the service gave as the reason, often empty.
 * @property {number} [retryInMs] For `reconnecting`.
 */

/**
 * @typedef {object} ClientOptions
 * @property {string} url Address of the service's socket, ws: or wss:.
 * @property {string} [session] Session to join or create.
 * @property {Role[]} [roles]
 * @property {string} [token]
 * @property {boolean} [observations] Needed for the limit of unanswered frames to work.
 * @property {string} [client] Name and version, for the service's log.
 * @property {number} [maxUnanswered] Frames that may wait for their observation.
 * @property {number} [maxBufferedBytes] Bytes that may wait in the socket before frames are dropped.
 */

export const SUBPROTOCOL = "affect.v1";

const FRAME_VERSION = 1;
const FRAME_KIND = 1;
const RETRY_FIRST_MS = 500;
const RETRY_MOST_MS = 10_000;
const STABLE_AFTER_MS = 5_000;
const ANSWER_TIMEOUT_MS = 5_000;
const WELCOME_MS = 10_000;
const NORMAL = 1000;
const ABNORMAL = 1006;
const NO_SESSION = 4404;

/** @type {Readonly<Record<number, string>>} */
export const CLOSE_EXPLANATIONS = Object.freeze({
  1000: "The session has ended.",
  1001: "The service is shutting down.",
  1006: "The connection was lost or the service cannot be reached.",
  1009: "A message was larger than the service accepts.",
  1011: "The service had an internal error.",
  1013: "The service is busy, or this client read too slowly.",
  4400: "The service did not understand this client's greeting; is the session name valid?",
  4401: "The service needs a token, or the token is wrong.",
  4403: "The service does not allow this page or this role.",
  4404: "The service no longer knows this session.",
  4408: "The greeting came too late.",
  4409: "Another window or device took over this session.",
  4426: "The service speaks another version of the protocol.",
  4451: "The declared use is not allowed by the service's policy.",
  4503: "The model of the service is not available.",
});

/** Close codes after which trying again by itself makes no sense. */
const FINAL_CODES = new Set([NORMAL, 4400, 4401, 4403, 4409, 4426, 4451]);
const SERVER_TYPES = new Set(["welcome", "snapshot", "event", "observation", "status", "flow", "error", "pong"]);

/**
 * Return everything of a binary frame that goes before the image bytes.
 * @param {FrameHeader} header
 * @returns {Uint8Array} u8 version, u8 kind, u16 header length (big endian), JSON header.
 */
export function packHeader(header) {
  const text = new TextEncoder().encode(JSON.stringify(header));
  const bytes = new Uint8Array(4 + text.length);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, FRAME_VERSION);
  view.setUint8(1, FRAME_KIND);
  view.setUint16(2, text.length, false);
  bytes.set(text, 4);
  return bytes;
}

/**
 * Return the wait before the next attempt, growing and random.
 * @param {number} attempt 0 for the first retry.
 */
export function retryDelay(attempt) {
  const most = Math.min(RETRY_MOST_MS, RETRY_FIRST_MS * 2 ** attempt);
  return Math.max(RETRY_FIRST_MS, most * (0.5 + Math.random() / 2));
}

/** Connection to one session of the service. */
export class AffectClient extends EventTarget {
  /** Shared secret; set it before `connect()`. @type {string | undefined} */
  token;
  /** Session name; the service's choice once it said welcome. @type {string | undefined} */
  session;
  /** @type {ConnectionState["state"]} */
  state = "closed";
  /** Last answer to `hello`. @type {Welcome | null} */
  welcome = null;
  /** `seq` of the last event received. */
  lastSeq = 0;
  /** Frames that were not sent because the service or the network is behind. */
  droppedFrames = 0;

  #url;
  #roles;
  #observations;
  #client;
  #maxUnanswered;
  #maxBufferedBytes;
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {Consent | null} */
  #consent = null;
  /** Frames without an answer: seq to time of sending. @type {Map<number, number>} */
  #unanswered = new Map();
  #frameSeq = 0;
  #resuming = false;
  #attempt = 0;
  #openedAt = Infinity;
  #heardAt = 0;
  #pingId = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retryTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #welcomeTimer;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #heartbeatTimer;

  /** @param {ClientOptions} options */
  constructor({
    url,
    session,
    roles = ["learner", "tutor"],
    token,
    observations = false,
    client = "affect-client.js",
    maxUnanswered = 2,
    maxBufferedBytes = 512 * 1024,
  }) {
    super();
    this.token = token;
    this.session = session;
    this.#url = url;
    this.#roles = roles;
    this.#observations = observations;
    this.#client = client;
    this.#maxUnanswered = maxUnanswered;
    this.#maxBufferedBytes = maxBufferedBytes;
  }

  /** Connect, and stay connected until `bye()` or a close code that forbids it. */
  connect() {
    if (this.#socket) return;
    clearTimeout(this.#retryTimer);
    this.#tell({ state: "connecting" });
    const socket = new WebSocket(this.#url, SUBPROTOCOL);
    this.#socket = socket;
    this.#welcomeTimer = setTimeout(() => {
      if (socket !== this.#socket) return;
      socket.close();
      this.#disconnected(ABNORMAL, "no welcome");
    }, WELCOME_MS);
    socket.addEventListener("open", () => this.#sendHello());
    socket.addEventListener("message", ({ data }) => {
      if (socket === this.#socket) this.#receive(data);
    });
    socket.addEventListener("close", ({ code, reason }) => {
      if (socket === this.#socket) this.#disconnected(code, reason);
    });
  }

  /**
   * Grant or revoke the processing of pictures. Remembered: sent after the next welcome when not connected, and
   * again after every reconnect.
   * @param {boolean} granted
   * @param {{context?: Context, jurisdiction?: string, purpose?: string}} [choices]
   */
  sendConsent(granted, { context, jurisdiction, purpose } = {}) {
    this.#consent = { type: "consent", granted, context, jurisdiction, purpose };
    this.#send(this.#consent);
  }

  /**
   * Send a picture, or drop and count it when too many are unanswered. Nothing is queued.
   * @param {Blob | ArrayBuffer} image Encoded picture.
   * @param {number} t Capture time in seconds, never going back.
   * @param {Media} [media]
   * @returns {boolean} Whether it was sent.
   */
  sendFrame(image, t, media = "image/jpeg") {
    if (this.state !== "open" || !this.#socket) return false;
    if (this.#isBehind(this.#socket)) {
      this.droppedFrames += 1;
      return false;
    }
    this.#frameSeq += 1;
    const header = packHeader({ seq: this.#frameSeq, t, media });
    this.#socket.send(new Blob([header, image]));
    if (this.#observations) this.#unanswered.set(this.#frameSeq, performance.now());
    return true;
  }

  /**
   * Tell what the learner did.
   * @param {string} kind One of `welcome.evidence`.
   * @param {number} [t] Seconds on the session's clock, as in `observation.t`; now when absent.
   * @returns {boolean} Whether it was sent.
   */
  sendEvidence(kind, t) {
    return this.#send({ type: "evidence", kind, t });
  }

  /**
   * Tell which state is true.
   * @param {string} state One of `welcome.states`.
   * @param {number} [t] Seconds on the session's clock, as in `observation.t`; now when absent.
   * @returns {boolean} Whether it was sent.
   */
  sendCorrect(state, t) {
    return this.#send({ type: "correct", state, t });
  }

  /**
   * End the session and disconnect; nothing connects again but `connect()`. Where no socket is open, as while
   * reconnecting, the service cannot be told: it ends the session by itself, `service.resume_s` after the last socket
   * left (300 s), and whoever connects this client again before that takes its grant back first.
   * @param {string} [reason]
   */
  bye(reason) {
    const socket = this.#socket;
    // Not only after the welcome: the service hears what comes right after the hello, which an open socket has sent.
    if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ type: "bye", reason }));
    socket?.close(NORMAL);
    this.#disconnected(NORMAL, reason ?? "", this.#consent && { type: "consent", granted: false });
  }

  #sendHello() {
    /** @type {Hello} */
    const hello = {
      type: "hello",
      protocol: SUBPROTOCOL,
      client: this.#client,
      roles: this.#roles,
      session: this.session,
      token: this.token,
      resume: this.#resuming ? { after: this.lastSeq, run: this.welcome?.run } : undefined,
      observations: this.#observations,
    };
    this.#socket?.send(JSON.stringify(hello));
  }

  /**
   * Send a message, if the service said welcome.
   * @param {ClientMessage} message
   */
  #send(message) {
    if (this.state !== "open" || !this.#socket) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  /** @param {WebSocket} socket */
  #isBehind(socket) {
    const expired = performance.now() - ANSWER_TIMEOUT_MS;
    for (const [seq, sentAt] of this.#unanswered) if (sentAt < expired) this.#unanswered.delete(seq);
    return this.#unanswered.size >= this.#maxUnanswered || socket.bufferedAmount > this.#maxBufferedBytes;
  }

  /** @param {unknown} data */
  #receive(data) {
    this.#heardAt = performance.now();
    const message = parse(data);
    if (!message) return;
    if (message.type === "welcome") this.#welcomed(message);
    else if (message.type === "snapshot") this.#caughtUp(message);
    else if (message.type === "event") this.lastSeq = Math.max(this.lastSeq, message.event.data.seq);
    else if (message.type === "observation") this.#answered(message.seq);
    else if (message.type === "error") this.#failed(message);
    this.dispatchEvent(new CustomEvent(message.type, { detail: message }));
  }

  /** @param {Welcome} welcome */
  #welcomed(welcome) {
    this.welcome = welcome;
    this.session = welcome.session;
    if (!welcome.resumed) this.lastSeq = 0;
    clearTimeout(this.#welcomeTimer);
    this.#openedAt = performance.now();
    this.#heartbeatTimer = setInterval(() => this.#beat(welcome.heartbeat_s), welcome.heartbeat_s * 1000);
    this.#tell({ state: "open" });
    if (this.#consent && (this.#consent.granted || welcome.consent)) this.#send(this.#consent);
  }

  /**
   * Events before the first hello are history; those of a resumed session are about to be replayed.
   * @param {Snapshot} snapshot
   */
  #caughtUp(snapshot) {
    if (!this.#resuming) this.lastSeq = Math.max(this.lastSeq, snapshot.seq);
    this.#resuming = true;
  }

  /**
   * An observation answers its frame and those the service dropped in favour of it.
   * @param {number} seq
   */
  #answered(seq) {
    for (const waiting of this.#unanswered.keys()) if (waiting <= seq) this.#unanswered.delete(waiting);
  }

  /** @param {ErrorMessage} error */
  #failed(error) {
    if (typeof error.ref === "number") this.#unanswered.delete(error.ref);
    if (error.code === "policy_refused") this.#consent = null;
  }

  /**
   * Browsers do not show websocket pings: a silence of two heartbeats means that the connection is gone.
   * @param {number} heartbeatS
   */
  #beat(heartbeatS) {
    if (performance.now() - this.#heardAt > 2000 * heartbeatS) {
      this.#socket?.close();
      this.#disconnected(ABNORMAL, "silence");
      return;
    }
    this.#pingId += 1;
    this.#send({ type: "ping", id: this.#pingId });
  }

  /**
   * @param {number} code
   * @param {string} reason
   * @param {Consent | null} [consent] What to remember when it is over for good.
   */
  #disconnected(code, reason, consent = null) {
    this.#socket = null;
    clearInterval(this.#heartbeatTimer);
    clearTimeout(this.#welcomeTimer);
    clearTimeout(this.#retryTimer);
    this.#unanswered.clear();
    const explanation = CLOSE_EXPLANATIONS[code] ?? `The connection was closed with code ${code}.`;
    if (code === NORMAL || code === NO_SESSION) this.#forgetEvents();
    if (FINAL_CODES.has(code)) {
      this.#consent = consent;
      this.#tell({ state: "closed", code, reason, explanation });
      return;
    }
    if (performance.now() - this.#openedAt > STABLE_AFTER_MS) this.#attempt = 0;
    this.#openedAt = Infinity;
    const retryInMs = retryDelay(this.#attempt);
    this.#attempt += 1;
    this.#retryTimer = setTimeout(() => this.connect(), retryInMs);
    this.#tell({ state: "reconnecting", code, reason, explanation, retryInMs });
  }

  #forgetEvents() {
    this.lastSeq = 0;
    this.#resuming = false;
  }

  /** @param {ConnectionState} detail */
  #tell(detail) {
    this.state = detail.state;
    this.dispatchEvent(new CustomEvent("state", { detail }));
  }
}

/**
 * Return the message in a text frame, or null when it is none that this client knows.
 * @param {unknown} data
 * @returns {ServerMessage | null}
 */
function parse(data) {
  if (typeof data !== "string") return null;
  try {
    const message = JSON.parse(data);
    return SERVER_TYPES.has(message?.type) ? message : null;
  } catch {
    return null;
  }
}

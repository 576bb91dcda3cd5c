/**
 * Frames: the JSON text messages of a connection.
 *
 * The gateway speaks first with the event `connect.challenge`. The client answers with the request `connect`; the gateway
 * responds with hello-ok, or with an error and a close frame. From then on either side sends what it likes: the client
 * requests, the gateway responses (in any order, matched by `id`) and events. It ends with a WebSocket close frame
 * whose code says why (`close.ts`).
 */
import { OpenClawError } from "../errors.ts";
import { maxNesting, maxPayloadBytes } from "./limits.ts";

export interface RequestFrame {
  readonly type: "req";
  readonly id: string;
  readonly method: string;
  readonly params?: unknown;
}

export interface WireError {
  readonly code: string;
  readonly message: string;
  readonly details?: unknown;
  readonly retryable?: boolean;
  readonly retryAfterMs?: number;
}

export interface ResponseFrame {
  readonly type: "res";
  readonly id: string;
  readonly ok: boolean;
  readonly payload?: unknown;
  readonly error?: WireError;
}

export interface EventFrame {
  readonly type: "event";
  readonly event: string;
  readonly payload?: unknown;
  readonly seq?: number;
  readonly stateVersion?: { readonly presence: number; readonly health: number };
}

export type Frame = RequestFrame | ResponseFrame | EventFrame;

/**
 * Who is listening decides how strict to be. A gateway takes only the fields it knows, so that a misspelt field is
 * an error and not silence; a client takes what newer gateways add.
 */
export type FieldPolicy = "closed" | "open";

/**
 * Text -> frame. Nothing is dropped or changed: encoding the result gives the same JSON value.
 * Throws `protocol` for text that is no frame; `details.id` is the frame's id where one could be read.
 */
export function decodeFrame(text: string, fields: FieldPolicy = "open", maxBytes: number = maxPayloadBytes): Frame {
  return readFrame(parseMessage(text, maxBytes), fields);
}

/**
 * Text -> JSON value, whatever it says. Throws `protocol` for what is longer than `maxBytes`, nested too deep, or no JSON; the last has
 * `details.notJson`.
 */
export function parseMessage(text: string, maxBytes: number): unknown {
  if (isLongerThan(text, maxBytes)) throw notAFrame(`message of more than ${maxBytes} bytes`);
  if (isNestedTooDeep(text)) throw notAFrame(`message nested deeper than ${maxNesting} levels`);
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new OpenClawError("protocol", "message is not JSON", { cause, details: { notJson: true } });
  }
}

/** Frame -> text. */
export function encodeFrame(frame: Frame): string {
  return JSON.stringify(frame);
}

/** True when `text` opens more than `maxNesting` brackets at once. Text inside strings does not count. */
export function isNestedTooDeep(text: string): boolean {
  if (text.length <= maxNesting) return false;
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const char = text.charCodeAt(at);
    if (char === quote) at = endOfString(text, at + 1);
    else if (char === openBracket || char === openBrace) {
      if (++depth > maxNesting) return true;
    } else if (char === closeBracket || char === closeBrace) depth--;
  }
  return false;
}

const quote = 0x22;
const backslash = 0x5c;
const openBracket = 0x5b;
const closeBracket = 0x5d;
const openBrace = 0x7b;
const closeBrace = 0x7d;

/** Exact, and still cheap: a character has one to three bytes, so most texts are decided by their length. */
function isLongerThan(text: string, maxBytes: number): boolean {
  if (text.length > maxBytes) return true;
  return text.length * 3 > maxBytes && Buffer.byteLength(text) > maxBytes;
}

/** The place of the quote that ends the string whose text begins at `from`, or the end of the text. */
function endOfString(text: string, from: number): number {
  for (let at = text.indexOf('"', from); at !== -1; at = text.indexOf('"', at + 1)) {
    let escapes = 0;
    while (text.charCodeAt(at - 1 - escapes) === backslash) escapes++;
    if (escapes % 2 === 0) return at;
  }
  return text.length;
}

const requestFields = new Set(["type", "id", "method", "params", "traceparent", "expectedProfileId"]);
const responseFields = new Set(["type", "id", "ok", "payload", "error"]);
const eventFields = new Set(["type", "event", "payload", "seq", "stateVersion", "recipientProfileId"]);
const stateVersionFields = new Set(["presence", "health"]);
const errorFields = new Set(["code", "message", "details", "retryable", "retryAfterMs"]);

function readFrame(value: unknown, fields: FieldPolicy): Frame {
  if (!isObject(value)) throw notAFrame("a frame is a JSON object");
  const complain = (what: string) => notAFrame(what, value);
  switch (value["type"]) {
    case "req":
      needText(value, "id", complain);
      needText(value, "method", complain);
      if (fields === "closed") needKnownFields(value, requestFields, complain);
      break;
    case "res":
      needText(value, "id", complain);
      if (typeof value["ok"] !== "boolean") throw complain("a response needs a boolean ok");
      if (value["error"] !== undefined) checkError(value["error"], fields, complain);
      if (fields === "closed") needKnownFields(value, responseFields, complain);
      break;
    case "event":
      needText(value, "event", complain);
      if (value["seq"] !== undefined && !isCount(value["seq"])) throw complain("seq must be an integer from 0");
      if (value["stateVersion"] !== undefined) checkStateVersion(value["stateVersion"], fields, complain);
      if (fields === "closed") needKnownFields(value, eventFields, complain);
      break;
    default:
      throw complain(`type must be "req", "res" or "event"`);
  }
  return value as unknown as Frame; // the one cast: every field that the type promises was just checked
}

function checkError(error: unknown, fields: FieldPolicy, complain: (what: string) => OpenClawError): void {
  if (!isObject(error)) throw complain("error must be an object");
  needText(error, "code", complain);
  needText(error, "message", complain);
  if (error["retryable"] !== undefined && typeof error["retryable"] !== "boolean") {
    throw complain("error.retryable must be a boolean");
  }
  if (error["retryAfterMs"] !== undefined && !isCount(error["retryAfterMs"])) {
    throw complain("error.retryAfterMs must be an integer from 0");
  }
  if (fields === "closed") needKnownFields(error, errorFields, complain);
}

function checkStateVersion(
  stateVersion: unknown,
  fields: FieldPolicy,
  complain: (what: string) => OpenClawError,
): void {
  if (!isObject(stateVersion) || !isCount(stateVersion["presence"]) || !isCount(stateVersion["health"])) {
    throw complain("stateVersion must hold the integers presence and health");
  }
  if (fields === "closed") needKnownFields(stateVersion, stateVersionFields, complain);
}

function needText(value: Record<string, unknown>, name: string, complain: (what: string) => OpenClawError): void {
  const found = value[name];
  if (typeof found !== "string" || found === "") throw complain(`${name} must be a non-empty string`);
}

function needKnownFields(
  value: Record<string, unknown>,
  known: ReadonlySet<string>,
  complain: (what: string) => OpenClawError,
): void {
  for (const name in value) if (!known.has(name)) throw complain(`unknown field ${JSON.stringify(name.slice(0, 64))}`);
}

function notAFrame(what: string, value?: Record<string, unknown>): OpenClawError {
  const id = value?.["id"];
  return new OpenClawError("protocol", `invalid frame: ${what}`, {
    details: typeof id === "string" && id !== "" ? { id } : {},
  });
}

/** True for a JSON object (not null, not an array). */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): boolean {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

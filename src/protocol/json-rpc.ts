/**
 * The JSON-RPC 2.0 dialect (auth.md § 6, https://www.jsonrpc.org/specification): text in, messages out, and answers as text.
 *
 * client  -> {"jsonrpc":"2.0","id":1,"method":"connect","params":{…}}, which selects the dialect
 * gateway -> {"jsonrpc":"2.0","id":1,"result":hello-ok}, or an error and a close frame
 * Then the client calls methods, alone or in batches, and the gateway answers and sends its events as notifications.
 */
import { isFailure } from "../errors.ts";
import { isObject, parseMessage, type WireError } from "./frame.ts";
import { maxBatchMembers, maxPayloadBytes } from "./limits.ts";

export type RpcId = string | number | null;

export type RpcMessage =
  /** `id` is undefined for a notification, which is never answered. */
  | { readonly kind: "call"; readonly id: RpcId | undefined; readonly method: string; readonly params?: unknown }
  | { readonly kind: "invalid"; readonly id: RpcId; readonly problem: string };

export type RpcReading =
  | { readonly kind: "single"; readonly message: RpcMessage }
  | { readonly kind: "batch"; readonly messages: readonly RpcMessage[] }
  | { readonly kind: "unreadable"; readonly fault: RpcFault; readonly problem: string };

/** What went wrong, as far as the standard has a code of its own for it. */
export type RpcFault = "parse" | "invalid-request" | "unknown-method" | "invalid-params" | "internal";

export const standardCodes: Readonly<Record<RpcFault, number>> = {
  parse: -32700,
  "invalid-request": -32600,
  "unknown-method": -32601,
  "invalid-params": -32602,
  internal: -32603,
};

/** Ours, within what the standard leaves to servers (-32000 to -32099). `data.code` and `data.details` say more. */
export const serverCodes = {
  refused: -32000,
  unauthorized: -32001,
  notPaired: -32002,
  forbidden: -32003,
  rateLimited: -32004,
  unavailable: -32005,
} as const;

/**
 * True when this first message is meant as JSON-RPC, right or wrong. A frame of our own dialect never has a member of this name; one that
 * spells it with escapes is not recognised.
 */
export function selectsJsonRpc(text: string): boolean {
  if (!text.includes('"jsonrpc"')) return false;
  try {
    const value: unknown = parseMessage(text, maxPayloadBytes);
    return Array.isArray(value) ? value.some(hasVersion) : hasVersion(value);
  } catch {
    return /^\s*\[?\s*\{\s*"jsonrpc"/u.test(text); // whoever writes it badly is told so in the same words
  }
}

/** Text -> what it says. Total: whatever arrives gives something to answer. */
export function readJsonRpc(text: string, maxBytes: number = maxPayloadBytes): RpcReading {
  let value: unknown;
  try {
    value = parseMessage(text, maxBytes);
  } catch (error) {
    const isJson = !(isFailure(error) && error.details?.["notJson"] === true);
    const problem = error instanceof Error ? error.message : String(error);
    return { kind: "unreadable", fault: isJson ? "invalid-request" : "parse", problem };
  }
  if (!Array.isArray(value)) return { kind: "single", message: readMessage(value) };
  const problem = value.length === 0 ? "an empty batch" : `a batch of more than ${maxBatchMembers} members`;
  if (value.length === 0 || value.length > maxBatchMembers) {
    return { kind: "unreadable", fault: "invalid-request", problem };
  }
  return { kind: "batch", messages: value.map(readMessage) };
}

/** The text of an answer; `resultJson` is JSON already. */
export function encodeResult(id: RpcId, resultJson: string): string {
  return `{"jsonrpc":"2.0","id":${JSON.stringify(id)},"result":${resultJson}}`;
}

/** The text of a refusal: the standard's code where it has one for the fault, else one of ours, and our whole error under `data`. */
export function encodeError(id: RpcId, { message, ...data }: WireError, fault?: RpcFault): string {
  const code = fault === undefined ? serverCodeOf({ message, ...data }) : standardCodes[fault];
  return JSON.stringify({ jsonrpc: "2.0", id, error: { code, message, data } });
}

/** The text of an event; `payloadJson` is a JSON object already. */
export function encodeNotification(method: string, payloadJson: string): string {
  return `{"jsonrpc":"2.0","method":${JSON.stringify(method)},"params":${payloadJson}}`;
}

/** Answers of a batch -> its one text. */
export function encodeBatch(answers: readonly string[]): string {
  return `[${answers.join(",")}]`;
}

function serverCodeOf({ code, details }: WireError): number {
  const detail = isObject(details) && typeof details["code"] === "string" ? details["code"] : "";
  if (detail === "AUTH_RATE_LIMITED") return serverCodes.rateLimited;
  if (/^(?:AUTH|DEVICE_AUTH)_|^CONTROL_UI_|^DEVICE_IDENTITY_REQUIRED$/u.test(detail)) return serverCodes.unauthorized;
  if (code === "NOT_PAIRED") return serverCodes.notPaired;
  if (code === "FORBIDDEN") return serverCodes.forbidden;
  return code === "UNAVAILABLE" ? serverCodes.unavailable : serverCodes.refused;
}

function hasVersion(value: unknown): boolean {
  return isObject(value) && Object.hasOwn(value, "jsonrpc");
}

/** Members that the standard does not name are left alone: it forbids none. */
function readMessage(value: unknown): RpcMessage {
  if (!isObject(value)) return { kind: "invalid", id: null, problem: "a request is a JSON object" };
  const { method, params } = value;
  const id = Object.hasOwn(value, "id") ? value["id"] : undefined;
  const known = isId(id) ? id : null;
  const invalid = (problem: string): RpcMessage => ({ kind: "invalid", id: known, problem });
  if (value["jsonrpc"] !== "2.0") return invalid('jsonrpc must be "2.0"');
  if (id !== undefined && !isId(id)) return invalid("id must be a string, null, or a number that can be kept exactly");
  if (typeof method !== "string" || method === "") return invalid("method must be a non-empty string");
  if (params !== undefined && (typeof params !== "object" || params === null)) {
    return invalid("params must be an object or an array");
  }
  return { kind: "call", id, method, ...(params === undefined ? {} : { params }) };
}

/** A number that loses digits on its way would come back as another one. */
function isId(id: unknown): id is RpcId {
  if (typeof id === "string" || id === null) return true;
  return typeof id === "number" && Number.isFinite(id) && (!Number.isInteger(id) || Number.isSafeInteger(id));
}

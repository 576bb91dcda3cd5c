/**
 * What is said over a tunnel's control socket: lines of JSON. The client asks `{id, nonce, method, params}`; the owner answers any number
 * of `{id, nonce, row}` and then one `{id, nonce, ok, …}`. The nonce is the tunnel's, from its record: neither side believes the other
 * without it, so a socket whose path was used again is never taken for the tunnel that is meant.
 */
import { OpenClawError, isFailure, isFailureCode } from "../errors.ts";

export interface ControlRequest {
  readonly id: number;
  readonly nonce: string;
  readonly method: string;
  readonly params: Readonly<Record<string, unknown>>;
}

export interface ControlError {
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
  readonly fix?: string;
  readonly details?: Readonly<Record<string, unknown>>;
}

export type ControlReply = { readonly id: number; readonly nonce: string } & (
  | { readonly row: object }
  | { readonly ok: true; readonly result: object }
  | { readonly ok: false; readonly error: ControlError }
);

/** A request is a few words. */
export const maxRequestBytes = 64 * 1024;
/** A report has a row for each open connection, of about 200 bytes. */
export const maxReplyBytes = 64 * 1024 * 1024;

const newline = 0x0a;

/** Cuts a stream of bytes into lines. */
export class Lines {
  readonly #maxBytes: number;
  #parts: Buffer[] = [];
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** The lines that `chunk` completes. Throws `protocol` when one is longer than allowed. */
  push(chunk: Buffer): string[] {
    const lines: string[] = [];
    let from = 0;
    for (let end = chunk.indexOf(newline); end >= 0; end = chunk.indexOf(newline, from)) {
      this.#keep(chunk.subarray(from, end));
      lines.push(Buffer.concat(this.#parts).toString("utf8"));
      this.#parts = [];
      this.#bytes = 0;
      from = end + 1;
    }
    this.#keep(chunk.subarray(from));
    return lines;
  }

  #keep(part: Buffer): void {
    this.#bytes += part.length;
    if (this.#bytes > this.#maxBytes) {
      throw new OpenClawError("protocol", `a line of a control socket is longer than ${this.#maxBytes} bytes`);
    }
    if (part.length > 0) this.#parts.push(part);
  }
}

/** The request in a line, or undefined when it is none. */
export function readRequest(line: string): ControlRequest | undefined {
  const { id, nonce, method, params = {} } = jsonObject(line);
  if (!Number.isSafeInteger(id) || typeof nonce !== "string" || typeof method !== "string") return undefined;
  return isObject(params) ? { id: Number(id), nonce, method, params } : undefined;
}

/** The reply in a line, or undefined when it is none. What a result holds is for who asked to know. */
export function readReply(line: string): ControlReply | undefined {
  const { id, nonce, row, ok, result, error } = jsonObject(line);
  if (!Number.isSafeInteger(id) || typeof nonce !== "string") return undefined;
  const to = { id: Number(id), nonce };
  if (isObject(row)) return { ...to, row };
  if (ok === true && isObject(result)) return { ...to, ok, result };
  if (ok === false && isObject(error)) return { ...to, ok, error: readError(error) };
  return undefined;
}

/** A failure as it goes over the socket. */
export function toControlError(thrown: unknown): ControlError {
  if (!isFailure(thrown))
    return { code: "internal", message: thrown instanceof Error ? thrown.message : String(thrown) };
  const { code, message, hint, fix, details } = thrown;
  return {
    code,
    message,
    ...(hint !== undefined && { hint }),
    ...(fix !== undefined && { fix }),
    ...(details !== undefined && { details }),
  };
}

/** The failure that the owner told of. */
export function fromControlError({ code, message, hint, fix, details }: ControlError): OpenClawError {
  return new OpenClawError(isFailureCode(code) ? code : "failed", message, { hint, fix, details });
}

function readError({ code, message, hint, fix, details }: Readonly<Record<string, unknown>>): ControlError {
  return {
    code: String(code),
    message: String(message),
    ...(typeof hint === "string" && { hint }),
    ...(typeof fix === "string" && { fix }),
    ...(isObject(details) && { details }),
  };
}

function jsonObject(line: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(line);
    return isObject(value) ? value : {};
  } catch {
    return {};
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

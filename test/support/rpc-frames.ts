/** What is said in JSON-RPC, as the frames that say the same in our own dialect: the published schemas hold for both. */
import { isObject } from "../../src/protocol/frame.ts";
import { at } from "./raw-client.ts";

/** A connect of this dialect has its own params; its answer is the same hello. */
const anyConnect = {
  minProtocol: 4,
  maxProtocol: 4,
  client: { id: "cli", version: "1", platform: "linux", mode: "cli" },
};

/** The value itself when it is no JSON-RPC, else a frame for each message of it that has one. */
export function asFrames(value: unknown): readonly unknown[] {
  if (Array.isArray(value) && value.some(isRpc)) return value.flatMap(asFrames);
  return isRpc(value) ? frameOf(value) : [value];
}

function isRpc(value: unknown): value is Readonly<Record<string, unknown>> {
  return isObject(value) && value["jsonrpc"] === "2.0";
}

function frameOf({ id, method, params, result, error }: Readonly<Record<string, unknown>>): readonly unknown[] {
  const frameId = JSON.stringify(id);
  if (method === "connect") return [{ type: "req", id: frameId, method, params: anyConnect }];
  if (typeof method === "string") {
    // Notifications of a client are never answered, so nothing shows that they were taken.
    return id === undefined
      ? [{ type: "event", event: method, payload: params }]
      : [{ type: "req", id: frameId, method, params }];
  }
  if (result !== undefined) return [{ type: "res", id: frameId, ok: true, payload: result }];
  const data = at(error, "data");
  return [
    { type: "res", id: frameId, ok: false, error: { message: at(error, "message"), ...(isObject(data) ? data : {}) } },
  ];
}

/** A request that was seen, and the one that took its place since: when may the later one be approved in its stead? */
import { isPairingCode, type PairingCode } from "../protocol/pairing-code.ts";
import { holdsScopes } from "../protocol/vocabulary.ts";
import type { DeviceRequestRecord } from "./records.ts";

/** Fewer characters of an id would match by accident too easily. */
const minPrefixLength = 6;

/** Whether `wanted` is this request: its id, the beginning of it, or its code. */
export function matchesRequest(
  { requestId }: Pick<DeviceRequestRecord, "requestId">,
  wanted: string,
  code: PairingCode | undefined,
): boolean {
  if (isPairingCode(wanted, code)) return true;
  return wanted === requestId || (wanted.length >= minPrefixLength && requestId.startsWith(wanted.toLowerCase()));
}

/** A request and those that took its place, oldest first. */
export function followRequest(
  first: DeviceRequestRecord,
  requests: ReadonlyMap<string, DeviceRequestRecord>,
): readonly DeviceRequestRecord[] {
  const chain = [first];
  for (;;) {
    const resolution = chain.at(-1)?.resolution;
    const next = resolution?.decision === "superseded" ? requests.get(resolution.note ?? "") : undefined;
    if (next === undefined || chain.includes(next)) return chain;
    chain.push(next);
  }
}

/** What of a request an approval is about. */
export type Asked = Pick<DeviceRequestRecord, "publicKey" | "role" | "scopes">;

/** What the later request asks for that the one before did not, in words; empty when an approval of the one covers the other. */
export function differenceBetween(before: Asked, after: Asked): readonly string[] {
  const wider = after.scopes.filter((scope) => !holdsScopes(before.scopes, [scope]));
  return [
    ...(after.publicKey === before.publicKey ? [] : ["another key"]),
    ...(after.role === before.role ? [] : [`role ${after.role} instead of ${before.role}`]),
    ...(wider.length === 0 ? [] : [`also ${wider.join(", ")}`]),
  ];
}

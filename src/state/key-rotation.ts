/**
 * What `identity rotate` has on the disk: the new key beside the present one before anybody hears of it, which gateways know which of the two,
 * and the old key for as long as one of them knows no other. Every step may be cut short, and is done again from what is written here.
 */
import { rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import * as v from "valibot";
import { OpenClawError } from "../errors.ts";
import { createIdentity, type DeviceIdentity } from "../identity/device-identity.ts";
import type { Runtime } from "../runtime.ts";
import { readTextFile, writeTextFile } from "../store/atomic-file.ts";
import { readIdentity, readIdentityFile, writeIdentity } from "./identity-file.ts";
import type { SecretStore } from "./secret-store.ts";
import type { TokenFile } from "./token-memory.ts";

/**
 * `pending`: knows the old key. `sent`: was told, and its answer is not written down. `moved`: knows the new key. `unsupported`: has no such
 * method, and knows the old key until somebody approves the new one. `approved`: somebody has.
 */
const states = ["pending", "sent", "moved", "unsupported", "approved"] as const;
export type MoveState = (typeof states)[number];

const rotationFile = v.object({
  version: v.literal(1),
  previousDeviceId: v.string(),
  deviceId: v.string(),
  startedAtMs: v.number(),
  gateways: v.array(v.object({ url: v.string(), state: v.picklist(states) })),
});
export type KeyRotation = v.InferOutput<typeof rotationFile>;

export interface RotationPlace {
  /** `identity/device.json` */
  readonly identity: string;
  /** `identity/rotation.json` */
  readonly rotation: string;
}

/** The rotation that is not over yet, if there is one. */
export async function readRotation({ rotation: path }: RotationPlace): Promise<KeyRotation | undefined> {
  const text = await readTextFile(path);
  if (text === undefined) return undefined;
  const read = v.safeParse(v.pipe(v.string(), v.parseJson(), rotationFile), text);
  if (read.success) return read.output;
  throw new OpenClawError("state-unreadable", `${path} is not the record of a key rotation`, {
    hint: "nothing was changed; restore it: it says which gateways know which key",
    details: { path },
  });
}

/** Where the key is that takes the present one's place, until it has. */
export function nextKeyPath({ identity }: RotationPlace): string {
  return identity.replace(/\.json$/u, ".next.json");
}

/** Where the ids are that this machine had before its present key, oldest first: others may know it by them. */
function formerIdsPath({ identity }: RotationPlace): string {
  return join(dirname(identity), "former-ids.json");
}

/** The ids that this machine had before its present key, oldest first. */
export async function formerIds(place: RotationPlace): Promise<readonly string[]> {
  const path = formerIdsPath(place);
  const text = await readTextFile(path);
  if (text === undefined) return [];
  const read = v.safeParse(v.pipe(v.string(), v.parseJson(), v.array(v.string())), text);
  if (read.success) return read.output;
  throw new OpenClawError("state-unreadable", `${path} is not the list of this machine's former ids`, {
    hint: "nothing was changed; restore it, or move it away: links that were made under those ids are then made anew",
    details: { path },
  });
}

/** Where the old key is from then on: `device.<when the rotation began>.json`. */
export function oldKeyPath({ identity }: RotationPlace, { startedAtMs }: KeyRotation): string {
  const date = new Date(startedAtMs).toISOString().replaceAll(/[:.]|\d{3}Z/gu, "");
  return identity.replace(/\.json$/u, `.${date}Z.json`);
}

/** True once the new key is this machine's key. */
export async function hasSwitched({ identity }: RotationPlace, { deviceId }: KeyRotation): Promise<boolean> {
  return (await readIdentityFile(identity))?.identity.deviceId === deviceId;
}

export interface RotationParts {
  readonly place: RotationPlace;
  readonly secrets: SecretStore;
  readonly runtime: Runtime;
}

/** Makes the new key, in the store of the present one, and writes down who is to be told of it. Nobody was told yet. */
export async function beginRotation(
  { place, secrets, runtime }: RotationParts,
  urls: readonly string[],
): Promise<KeyRotation> {
  const present = await readIdentityFile(place.identity);
  if (present === undefined) throw noIdentity(place.identity);
  await removeKey(nextKeyPath(place), secrets); // of an attempt that nobody heard of
  const next = createIdentity(runtime.random(32), runtime.now());
  await writeIdentity(nextKeyPath(place), next, present.store, secrets);
  const rotation: KeyRotation = {
    version: 1,
    previousDeviceId: present.identity.deviceId,
    deviceId: next.deviceId,
    startedAtMs: runtime.now(),
    gateways: urls.map((url) => ({ url, state: "pending" })),
  };
  await writeRotation(place, rotation);
  return rotation;
}

/** The rotation with what is known of one gateway now, written down. */
export async function noteGateway(
  place: RotationPlace,
  rotation: KeyRotation,
  url: string,
  state: MoveState,
): Promise<KeyRotation> {
  const gateways = rotation.gateways.map((gateway) => (gateway.url === url ? { url, state } : gateway));
  const noted = { ...rotation, gateways };
  await writeRotation(place, noted);
  return noted;
}

/** The old key, or the new one, wherever it is by now; `state-unreadable` when it is gone. */
export async function rotationKey(
  { place, secrets }: RotationParts,
  rotation: KeyRotation,
  which: "previous" | "next",
): Promise<DeviceIdentity> {
  const wanted = which === "next" ? rotation.deviceId : rotation.previousDeviceId;
  const elsewhere = which === "next" ? nextKeyPath(place) : oldKeyPath(place, rotation);
  // Once more where it is first looked for: another process may have switched the two meanwhile.
  for (const path of [place.identity, elsewhere, place.identity]) {
    if ((await readIdentityFile(path))?.identity.deviceId !== wanted) continue;
    const identity = await readIdentity(path, secrets);
    if (identity !== undefined) return identity;
  }
  throw new OpenClawError("state-unreadable", `the ${which === "next" ? "new" : "old"} key of the rotation is gone`, {
    hint: `nothing was changed; restore ${elsewhere}`,
    details: { path: elsewhere, deviceId: wanted },
  });
}

/** Puts the new key in the old one's place, and the old one beside it. */
export async function switchKeys(place: RotationPlace, rotation: KeyRotation): Promise<void> {
  if (!(await hasSwitched(place, rotation))) {
    await assertPrevious(place, rotation);
    const former = (await formerIds(place)).filter((id) => id !== rotation.previousDeviceId);
    await writeTextFile(formerIdsPath(place), `${JSON.stringify([...former, rotation.previousDeviceId])}\n`);
    await writeTextFile(oldKeyPath(place, rotation), await textOf(place.identity));
    await writeTextFile(place.identity, await textOf(nextKeyPath(place)));
  }
  // Its text is in device.json now, and so is the name of its keychain entry.
  await rm(nextKeyPath(place), { force: true });
}

/** Somebody may have put a third key there meanwhile (`identity import --force`): that one is nobody's to replace. */
async function assertPrevious({ identity: path }: RotationPlace, { previousDeviceId }: KeyRotation): Promise<void> {
  const found = (await readIdentityFile(path))?.identity.deviceId;
  if (found === previousDeviceId) return;
  throw new OpenClawError("conflict", `${path} is not the key that the rotation began with`, {
    hint: `nothing was changed; the rotation is from ${previousDeviceId}. Put that key back, or remove rotation.json beside it to keep this one`,
    details: { path, deviceId: found ?? null, previousDeviceId },
  });
}

/** Forgets the old key: nobody knows it any more. */
export async function endRotation(
  { place, secrets }: Omit<RotationParts, "runtime">,
  rotation: KeyRotation,
): Promise<void> {
  await removeKey(oldKeyPath(place, rotation), secrets);
  await rm(place.rotation, { force: true });
}

/** The identity that a gateway knows while a rotation is under way; undefined when none is, or when the gateway has no part in it. */
export async function identityAt(
  parts: RotationParts,
  url: string,
  tokens: Pick<TokenFile, "list">,
): Promise<DeviceIdentity | undefined> {
  const rotation = await readRotation(parts.place);
  const state = rotation?.gateways.find((gateway) => gateway.url === url)?.state;
  if (rotation === undefined || state === undefined) return undefined;
  // Where a person approved the new key, its first connection has left a token.
  const isApproved = async () =>
    (await tokens.list()).some(({ gateway, deviceId }) => gateway === url && deviceId === rotation.deviceId);
  return rotationKey(parts, rotation, await keyFor(state, isApproved));
}

async function keyFor(state: MoveState, isApproved: () => Promise<boolean>): Promise<"previous" | "next"> {
  switch (state) {
    case "pending":
      return "previous";
    case "unsupported":
      return (await isApproved()) ? "next" : "previous";
    case "sent":
    case "moved":
    case "approved":
      return "next";
  }
}

async function removeKey(path: string, secrets: SecretStore): Promise<void> {
  const file = await readIdentityFile(path);
  if (file === undefined) return;
  if (file.store === "keychain") await secrets.removeEntry(file.entry);
  await rm(path, { force: true });
}

async function textOf(path: string): Promise<string> {
  const text = await readTextFile(path);
  if (text !== undefined) return text;
  throw new OpenClawError("state-unreadable", `${path} is gone`, {
    hint: "nothing was changed; restore it",
    details: { path },
  });
}

function writeRotation({ rotation: path }: RotationPlace, rotation: KeyRotation): Promise<void> {
  return writeTextFile(path, `${JSON.stringify(rotation, null, 2)}\n`);
}

function noIdentity(path: string): OpenClawError {
  return new OpenClawError("not-found", "this machine has no identity yet, and so no key to rotate", {
    hint: "one is made at the first connection, or now",
    fix: "openclaw identity create",
    details: { path },
  });
}

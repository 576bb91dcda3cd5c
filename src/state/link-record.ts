/**
 * What this machine knows of the gateways it is linked with: one 0600 file for each peer, named by the peer's device id. It is written
 * before anything is changed for the link, so that whoever comes after a crash can take back what was added, and nothing else.
 */
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import { systemCode } from "../errors.ts";
import { readTextFile, writeTextFile } from "../store/atomic-file.ts";
import { readFailure, unreadable, writeFailure } from "../store/state-failure.ts";
import { isAlive } from "../store/process-life.ts";

const linkRecord = v.object({
  version: v.literal(1),
  /** What people call the link here. */
  name: v.string(),
  peer: v.object({ deviceId: v.string(), publicKey: v.string(), host: v.string() }),
  /** `linked` once both directions were proven; before that, what was added goes when its owner ends. */
  state: v.picklist(["setting-up", "linked"]),
  /** The process that sets it up. */
  owner: v.object({ pid: v.number(), processStart: v.string() }),
  createdAtMs: v.number(),
  /** What the link has added on this machine. */
  added: v.object({
    /** The peer's device was not known to our gateway, or only in another role. */
    device: v.optional(v.picklist(["device", "role"])),
    inviteId: v.optional(v.string()),
    /** The origin under which a token of the peer's gateway is kept. */
    token: v.optional(v.string()),
  }),
  /** How to get there, on the machine that was told to link. No secret is in it. */
  way: v.optional(
    v.object({
      destination: v.string(),
      flags: v.record(v.string(), v.unknown()),
      toRemote: v.boolean(),
      toLocal: v.boolean(),
    }),
  ),
});

export type LinkRecord = v.InferOutput<typeof linkRecord>;

const fileName = /^[0-9a-f]{64}\.json$/u;

/** Every link of this state directory, by name. Throws `state-unreadable` for a file that is none of ours. */
export async function listLinks(directory: string): Promise<readonly LinkRecord[]> {
  const names = await namesIn(directory);
  const records = await Promise.all(names.map((name) => readAt(join(directory, name))));
  return records
    .filter((record) => record !== undefined)
    .toSorted((a, b) => a.name.localeCompare(b.name) || a.peer.deviceId.localeCompare(b.peer.deviceId));
}

/** The link with this device; undefined when there is none. */
export function readLink(directory: string, deviceId: string): Promise<LinkRecord | undefined> {
  return readAt(pathOf(directory, deviceId));
}

/** Written down, synced and in place when this resolves. */
export function writeLink(directory: string, record: LinkRecord): Promise<void> {
  return writeTextFile(pathOf(directory, record.peer.deviceId), `${JSON.stringify(record, null, 2)}\n`);
}

export async function removeLink(directory: string, deviceId: string): Promise<void> {
  const path = pathOf(directory, deviceId);
  try {
    await rm(path, { force: true });
  } catch (error) {
    throw writeFailure(path, error);
  }
}

/** Whether a link was being set up by a process that is no more. */
export async function isAbandoned({ state, owner }: LinkRecord): Promise<boolean> {
  return state === "setting-up" && !(await isAlive(owner));
}

function pathOf(directory: string, deviceId: string): string {
  return join(directory, `${deviceId}.json`);
}

async function namesIn(directory: string): Promise<readonly string[]> {
  try {
    return (await readdir(directory)).filter((name) => fileName.test(name));
  } catch (error) {
    if (systemCode(error) === "ENOENT") return [];
    throw readFailure(directory, error);
  }
}

async function readAt(path: string): Promise<LinkRecord | undefined> {
  const text = await readTextFile(path);
  if (text === undefined) return undefined;
  const read = v.safeParse(v.pipe(v.string(), v.parseJson(), linkRecord), text);
  if (read.success) return read.output;
  throw unreadable(path, "it is not the record of a link", "restore it, or move it away and link again");
}

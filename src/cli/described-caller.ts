/** A caller as `gateway explain --as` describes it: a JSON5 file. What it leaves out is as with a device that is known, or as usual. */
import { isIP } from "node:net";
import * as v from "valibot";
import { isLoopbackHost } from "../config/address.ts";
import { parseConfig } from "../config/file.ts";
import { OpenClawError } from "../errors.ts";
import { credentialWords, type DescribedCaller, fieldOf } from "../gateway/explain.ts";
import type { LocalProof } from "../gateway/arrival/local-peer.ts";
import { matchId } from "../identity/match-id.ts";
import type { DeviceRecord } from "../pairing/records.ts";
import { clientModes, roles } from "../protocol/vocabulary.ts";

const oneOf = <const Words extends readonly string[]>(words: Words) =>
  v.picklist(words, `must be one of: ${words.join(", ")}`);
const text = v.pipe(v.string("must be text"), v.nonEmpty("must not be empty"));
const texts = v.array(text, "must be a list of texts");
const credential = oneOf(credentialWords);

/** What a look at the caller's process shows. */
const processes = ["own", "relay", "other user", "unknown"] as const;

const callerFile = v.strictObject(
  {
    address: v.optional(
      v.pipe(
        text,
        v.check((value) => isIP(value) !== 0, "must be an IP address"),
      ),
      "127.0.0.1",
    ),
    port: v.optional(
      v.pipe(
        v.number("must be a port"),
        v.integer("must be a port"),
        v.minValue(1, "must be a port"),
        v.maxValue(65_535, "must be a port"),
      ),
    ),
    host: v.optional(text),
    origin: v.optional(text),
    headers: v.optional(v.record(v.string(), v.union([v.string(), texts], "must be text, or a list of texts")), {}),
    process: v.optional(oneOf(processes), "unknown"),
    whois: v.optional(text),
    role: v.optional(oneOf(roles)),
    scopes: v.optional(texts, []),
    clientId: v.optional(text),
    clientMode: v.optional(oneOf(clientModes)),
    platform: v.optional(text),
    deviceFamily: v.optional(text),
    device: v.optional(text, "none"),
    authorization: v.optional(credential),
    // Each alternative by itself, so that a complaint names the entry that is wrong.
    credentials: v.optional(
      v.lazy((shown) =>
        shown === "none" ? v.literal("none") : v.array(credential, "must be none, or a list of credentials"),
      ),
      "none",
    ),
  },
  (issue) => (issue.expected === "never" ? "is not a field of a caller" : "must be an object"),
);

export interface CallerSurroundings {
  /** Where the file stands, for messages. */
  readonly path: string;
  /** The port that the gateway listens on. */
  readonly port: number;
  /** What the gateway remembers. */
  readonly devices: readonly DeviceRecord[];
  /** The secrets that it has. */
  readonly has: { readonly token: boolean; readonly password: boolean };
}

/** The caller of a file's text; `usage` that names the field which is not right. */
export function readCaller(fileText: string, surroundings: CallerSurroundings): DescribedCaller {
  const { path, port, devices, has } = surroundings;
  const read = v.safeParse(callerFile, parseConfig(fileText, path), { abortPipeEarly: true });
  if (!read.success) {
    const [issue] = read.issues;
    throw wrongField(path, v.getDotPath(issue) ?? "the file", issue.message);
  }
  const { headers, process, whois, credentials: shown, device, port: dialled = port, ...said } = read.output;
  const credentials = shown === "none" ? [] : shown;
  const fields = credentials.map((word) => fieldOf[word]);
  if (new Set(fields).size < fields.length) {
    throw wrongField(path, "credentials", "must name one credential of each kind at most");
  }
  for (const word of [...credentials, said.authorization]) {
    const isMissing = (word === "right token" && !has.token) || (word === "right password" && !has.password);
    if (isMissing) throw wrongField(path, "credentials", `cannot hold a ${word}: this gateway has none`);
  }
  const record = device === "none" || device === "new" ? undefined : findRecord(device, devices);
  const { clientId = record?.clientId ?? "cli" } = said;
  return {
    address: said.address,
    host: said.host ?? `${isLoopbackHost(said.address) ? "127.0.0.1" : "gateway"}:${dialled}`,
    origin: said.origin,
    headers: Object.fromEntries(
      Object.entries(headers).map(([name, value]) => [name, typeof value === "string" ? [value] : value]),
    ),
    process: proofOf(process),
    whois: whois === undefined ? undefined : { login: whois },
    role: said.role ?? (clientId === "node-host" ? "node" : "operator"),
    scopes: said.scopes,
    clientId,
    clientMode: said.clientMode ?? usualModes.get(clientId) ?? "backend",
    platform: said.platform ?? record?.platform ?? "linux",
    deviceFamily: said.deviceFamily ?? record?.deviceFamily,
    device: record ?? (device === "new" ? "new" : "none"),
    authorization: said.authorization,
    credentials,
  };
}

/** The mode in which the product's clients come. */
const usualModes: ReadonlyMap<string, DescribedCaller["clientMode"]> = new Map([
  ["cli", "cli"],
  ["node-host", "node"],
  ["openclaw-control-ui", "webchat"],
  ["webchat-ui", "webchat"],
  ["webchat", "webchat"],
  ["openclaw-tui", "ui"],
]);

function proofOf(process: (typeof processes)[number]): LocalProof {
  switch (process) {
    case "own":
      return { isProven: true };
    case "relay":
      return { isProven: false, reason: "peer-may-relay" };
    case "other user":
      return { isProven: false, reason: "peer-other-user" };
    case "unknown":
      return { isProven: false, reason: "peer-unknown" };
  }
}

function findRecord(wanted: string, devices: readonly DeviceRecord[]): DeviceRecord {
  const candidates = devices.map((record) => ({
    record,
    id: record.deviceId,
    names: [record.operatorLabel, record.displayName].filter((name) => name !== undefined),
  }));
  return matchId(wanted, candidates, "device", "openclaw devices list --local").record;
}

function wrongField(path: string, field: string, problem: string): OpenClawError {
  return new OpenClawError("usage", `${path}: ${field} ${problem}`, {
    hint: "openclaw gateway explain --help names the fields",
    details: { path, field },
  });
}

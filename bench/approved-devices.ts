/** A store with devices that were approved before: what a gateway finds when it starts, and what the devices remember. */
import { randomBytes } from "node:crypto";
import { DeviceTokens } from "../src/gateway/records/device-tokens.ts";
import { Devices } from "../src/gateway/records/devices.ts";
import { policyOf } from "../src/gateway/options.ts";
import { Sessions } from "../src/gateway/sessions.ts";
import { Tables } from "../src/gateway/records/tables.ts";
import type { DeviceRecord } from "../src/pairing/records.ts";
import { approveDevice, type DeviceAsk } from "../src/pairing/requests.ts";
import { deriveToken, issueToken } from "../src/pairing/tokens.ts";
import type { Role } from "../src/protocol/vocabulary.ts";
import { systemRuntime } from "../src/runtime.ts";
import { openSqliteStore } from "../src/store/sqlite-store.ts";
import { makeDevice, type RawDevice } from "../test/support/raw-client.ts";

/** What the tokens are derived with; the same for whoever opens the store again. */
export const tokenKey = Buffer.alloc(32, 7);

/** The command that every device may be asked as a node. */
export const command = "system.info";

const operatorScopes = ["operator.read", "operator.write"];

export interface ApprovedDevice extends RawDevice {
  readonly tokens: Readonly<Record<Role, string>>;
}

/** Writes `count` devices, approved as operator and as node, into a new store at `path`. */
export async function approveDevices(path: string, count: number): Promise<readonly ApprovedDevice[]> {
  const approved = Array.from({ length: count }, () => approve(makeDevice()));
  await using book = await openBook(path);
  await book.tables.change((change) => {
    for (const { record } of approved) change.devices.put(record.deviceId, record);
  });
  return approved.map(({ device }) => device);
}

export interface Book extends AsyncDisposable {
  readonly tables: Tables;
  readonly devices: Devices;
  readonly tokens: DeviceTokens;
}

/** The gateway's, for pairing codes. */
const publicKey = Buffer.alloc(32).toString("base64url");

/** The gateway's memory on the store at `path`, without a gateway around it. */
export async function openBook(path: string): Promise<Book> {
  const runtime = systemRuntime;
  const tables = await Tables.open(await openSqliteStore(path), runtime);
  const base = { tables, sessions: new Sessions(runtime), runtime };
  const tokens = new DeviceTokens({ ...base, tokenKey, isBusy: () => false });
  const devices = new Devices({ ...base, tokens, limits: policyOf({}).limits, publicKey });
  return { tables, devices, tokens, [Symbol.asyncDispose]: () => tables.close() };
}

/** What a device asks for when it wants to be let in as this role. */
export function askFor(device: RawDevice, role: Role): DeviceAsk {
  return {
    deviceId: device.id,
    publicKey: device.publicKey,
    clientId: role === "node" ? "node-host" : "cli",
    clientMode: role === "node" ? "node" : "cli",
    platform: "linux",
    deviceFamily: "Linux",
    remoteIp: "127.0.0.1",
    role,
    scopes: role === "operator" ? operatorScopes : [],
    reason: "not-paired",
    isRepair: false,
  };
}

/** The fields of a connect that must be let in. */
export function connectOptions(device: ApprovedDevice, role: Role) {
  const { clientId, clientMode: mode, scopes } = askFor(device, role);
  const commands = role === "node" ? { commands: [command] } : {};
  return { device, role, clientId, mode, scopes, ...commands, auth: { token: device.tokens[role] } };
}

function approve(device: RawDevice): { readonly record: DeviceRecord; readonly device: ApprovedDevice } {
  const nowMs = Date.now();
  const salts = { operator: newSalt(), node: newSalt() };
  const token = (role: Role) => deriveToken(tokenKey, device.id, role, salts[role]);
  let record: DeviceRecord | undefined;
  for (const role of ["operator", "node"] as const) {
    const request = { ...askFor(device, role), requestId: "", createdAtMs: nowMs, ts: nowMs };
    const known = approveDevice(record, request, "owner", nowMs);
    record = issueToken(known, { gatewayKey: tokenKey, role, scopes: request.scopes, salt: salts[role], nowMs }).device;
  }
  if (record === undefined) throw new Error("no role was approved");
  const surface = { caps: [], commands: [command], createdAtMs: nowMs, approvedAtMs: nowMs };
  const tokens = { operator: token("operator"), node: token("node") };
  return { record: { ...record, surface }, device: { ...device, tokens } };
}

function newSalt(): string {
  return randomBytes(16).toString("base64url");
}

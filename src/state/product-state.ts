/**
 * What the product keeps about this machine: its device key, and the tokens that gateways issued to it. JSON files up to 2026.5.27, one
 * database since (protocol.md § 9). All of it is only read, and not a byte of it changes.
 */
import * as v from "valibot";
import type { StatePaths } from "../config/paths.ts";
import { OpenClawError } from "../errors.ts";
import { type DeviceIdentity, parseIdentity } from "../identity/device-identity.ts";
import { Secret } from "../secret.ts";
import { readTextFile } from "../store/atomic-file.ts";
import { type Ask, type CopyOptions, readDatabaseCopy } from "../store/database-copy.ts";

export interface ProductToken {
  readonly role: string;
  readonly token: Secret;
  readonly scopes: readonly string[];
  readonly updatedAtMs: number;
}

export interface ProductState {
  /** The file that the identity came from. */
  readonly source: { readonly kind: "sqlite" | "json"; readonly path: string };
  readonly identity: DeviceIdentity;
  readonly tokens: readonly ProductToken[];
  /** `ws(s)://host:port` of the gateway that the product's node was last started for. */
  readonly nodeGateway?: string;
}

const tokenRow = v.object({
  role: v.string(),
  token: v.string(),
  scopes: v.array(v.string()),
  updatedAtMs: v.number(),
});
const tokenFile = v.object({ version: v.literal(1), deviceId: v.string(), tokens: v.record(v.string(), tokenRow) });
const nodeConfig = v.object({
  gateway: v.optional(v.object({ host: v.string(), port: v.number(), tls: v.optional(v.boolean(), false) })),
});

const identityRow = v.object({
  device_id: v.string(),
  public_key_pem: v.string(),
  private_key_pem: v.string(),
  created_at_ms: v.number(),
});
const tokenRows = v.array(
  v.object({
    role: v.string(),
    token: v.string(),
    scopes_json: v.pipe(v.string(), v.parseJson(), v.array(v.string())),
    updated_at_ms: v.number(),
  }),
);
const stateRows = v.array(v.object({ value_json: v.pipe(v.string(), v.parseJson(), nodeConfig) }));

/**
 * The product's identity with what belongs to it, or undefined when it has none here. The database counts before the files: what stands
 * in both was moved from these to that. What is there and is not what it should be is `state-unreadable`.
 */
export async function readProductState(
  paths: StatePaths["product"],
  options: CopyOptions,
): Promise<ProductState | undefined> {
  const found = await readDatabaseCopy(paths.database, (ask) => stateInDatabase(ask, paths.database), options);
  return found ?? (await stateInFiles(paths));
}

function stateInDatabase(ask: Ask, path: string): ProductState | undefined {
  const [row] = ask("device_identities", { identity_key: "primary" });
  if (row === undefined) return undefined;
  const { device_id, public_key_pem, private_key_pem, created_at_ms } = checked(identityRow, row, path, "identity");
  const file = {
    version: 1,
    deviceId: device_id,
    publicKeyPem: public_key_pem,
    privateKeyPem: private_key_pem,
    createdAtMs: created_at_ms,
  };
  const tokens = checked(tokenRows, ask("device_auth_tokens", { device_id }), path, "device tokens");
  const [node] = checked(stateRows, ask("config_machine_state", { state_key: "nodeHost.config" }), path, "node");
  return {
    source: { kind: "sqlite", path },
    identity: parseIdentity(JSON.stringify(file), path),
    tokens: tokens.map(({ role, token, scopes_json, updated_at_ms }) => ({
      role,
      token: new Secret(token),
      scopes: scopes_json,
      updatedAtMs: updated_at_ms,
    })),
    ...nodeGatewayOf(node?.value_json),
  };
}

async function stateInFiles(paths: StatePaths["product"]): Promise<ProductState | undefined> {
  const text = await readTextFile(paths.identity);
  if (text === undefined) return undefined;
  const identity = parseIdentity(text, paths.identity);
  const kept = await readJson(tokenFile, paths.deviceTokens, "device tokens");
  // Tokens of an identity that was replaced since open nothing.
  const tokens = kept?.deviceId === identity.deviceId ? Object.values(kept.tokens) : [];
  return {
    source: { kind: "json", path: paths.identity },
    identity,
    tokens: tokens.map((row) => ({ ...row, token: new Secret(row.token) })),
    ...nodeGatewayOf(await readJson(nodeConfig, paths.node, "node")),
  };
}

function nodeGatewayOf(config: v.InferOutput<typeof nodeConfig> | undefined): { readonly nodeGateway?: string } {
  if (config?.gateway === undefined) return {};
  const { host, port, tls } = config.gateway;
  return { nodeGateway: `${tls ? "wss" : "ws"}://${host.includes(":") ? `[${host}]` : host}:${port}` };
}

async function readJson<Schema extends v.GenericSchema>(
  schema: Schema,
  path: string,
  what: string,
): Promise<v.InferOutput<Schema> | undefined> {
  const text = await readTextFile(path);
  if (text === undefined) return undefined;
  const json = v.safeParse(v.pipe(v.string(), v.parseJson()), text);
  return checked(schema, json.output, path, what);
}

/** The complaint names the field; values stay out of it, since some of them are secret. */
function checked<Schema extends v.GenericSchema>(
  schema: Schema,
  value: unknown,
  path: string,
  what: string,
): v.InferOutput<Schema> {
  const read = v.safeParse(schema, value);
  if (read.success) return read.output;
  const field = v.getDotPath(read.issues[0]);
  throw new OpenClawError(
    "state-unreadable",
    `${path} does not hold the product's ${what} in a form we know${field === null ? "" : ` (${field})`}`,
    { hint: "nothing was changed; a newer version of the product may have written it", details: { path } },
  );
}

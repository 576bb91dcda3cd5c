/** The connect of the JSON-RPC dialect, and the one method that only this dialect has (auth.md § 6). */
import * as v from "valibot";
import { type ConnectParams, describeIssues, readConnectParams } from "./handshake.ts";
import { type ClientMode, jsonRpcClientId, protocolRange, type Role, roles } from "./vocabulary.ts";

/** What a platform is called that was not stated. */
export const unstatedPlatform = "unknown";

const rpcRoles = ["control", "node", "webchat"] as const;
export type RpcRole = (typeof rpcRoles)[number];

/** The most that each role may hold of an operator's scopes; undefined = whatever its proof allows. */
export const mostOf: Readonly<Record<RpcRole, readonly string[] | undefined>> = {
  control: undefined,
  webchat: ["operator.read", "operator.write"],
  node: [],
};

/** What stays as it is in our own dialect is read by that one's reader. */
const passed = v.optional(v.unknown());
const connect = v.strictObject({
  role: v.picklist(rpcRoles, (issue) => `unknown role ${issue.received} (known: ${rpcRoles.join(", ")})`),
  client: v.strictObject({
    name: v.pipe(v.string(), v.nonEmpty("must not be empty"), v.maxLength(256)),
    version: v.pipe(v.string(), v.nonEmpty("must not be empty"), v.maxLength(256)),
    platform: passed,
    deviceFamily: passed,
    modelIdentifier: passed,
    instanceId: passed,
  }),
  auth: v.optional(
    v.strictObject({ token: v.optional(v.string()), password: v.optional(v.string()), deviceToken: passed }),
  ),
  device: passed,
  scopes: passed,
  caps: passed,
  commands: passed,
  permissions: passed,
  pathEnv: passed,
});

export interface RpcConnect {
  readonly role: RpcRole;
  /** As our own dialect would say it. Scopes are only there when they were asked for by name. */
  readonly params: ConnectParams;
}

/** Params of a connect -> what they ask for, or what is wrong with them, with the path (`client.name: …`). */
export function readRpcConnect(value: unknown): RpcConnect | { readonly problem: string } {
  const asked = v.safeParse(connect, value);
  if (!asked.success) return { problem: describeIssues(asked.issues) };
  const { role, client, ...rest } = asked.output;
  const { name: displayName, platform = unstatedPlatform, ...described } = client;
  const read = readConnectParams(
    {
      ...rest,
      minProtocol: protocolRange.max,
      maxProtocol: protocolRange.max,
      role: roleOf(role),
      client: { ...described, id: jsonRpcClientId, displayName, platform, mode: rpcModes[role] },
    },
    [jsonRpcClientId],
  );
  return "problem" in read ? read : { role, params: read.params };
}

/** The role that stands behind a name of this dialect. */
export function roleOf(role: RpcRole): Role {
  return role === "node" ? "node" : "operator";
}

/** What a client with a key has to sign as its mode. */
export const rpcModes: Readonly<Record<RpcRole, ClientMode>> = { control: "backend", webchat: "webchat", node: "node" };

const shown = v.pipe(
  v.string(),
  v.nonEmpty("must not be empty"),
  v.maxLength(64),
  v.regex(/^[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]*$/u, "must not hold control characters"),
);

/** `node.pair.request`: a client without a key asks for a token of its own. */
export const keylessRequestParams = v.optional(
  v.object({
    /** What an earlier request was answered with: the same client asks again. */
    claim: v.optional(v.pipe(v.string(), v.regex(/^[\w-]{43}$/u, "must be the claim of an earlier answer"))),
    /** Left out: the role that it connected as. */
    role: v.optional(v.picklist([...rpcRoles, ...roles])),
    scopes: v.optional(v.pipe(v.array(v.pipe(v.string(), v.maxLength(64))), v.maxLength(32))),
    displayName: v.optional(shown),
    platform: v.optional(shown),
    deviceFamily: v.optional(shown),
  }),
  {},
);
export type KeylessRequestParams = v.InferOutput<typeof keylessRequestParams>;

/** What `node.pair.request` is answered with; `token` comes once, here or with the notification `node.pair.resolved`. */
export interface KeylessRequestResult {
  readonly status: "pending" | "approved" | "rejected";
  readonly deviceId: string;
  readonly claim: string;
  readonly role: string;
  readonly scopes: readonly string[];
  readonly requestId?: string;
  /** When an unanswered request ends, unless it is asked again. */
  readonly expiresAtMs?: number;
  readonly token?: string;
  readonly reason?: string;
}

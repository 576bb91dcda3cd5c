/**
 * The handshake's two halves side by side: what a client puts into `connect`, what a gateway reads out of it, and what
 * hello-ok answers.
 *
 * gateway -> event connect.challenge {nonce, ts}
 * client  -> request connect {client, role, scopes, auth, device: signature over the nonce and the credential}
 * gateway -> hello-ok {protocol, server, features, snapshot, policy, auth}, or an error and a close frame
 */
import * as v from "valibot";
import type { WireError } from "./frame.ts";
import { sasAnswer } from "./sas.ts";
import { clientIds, clientModes, protocolRange, roles } from "./vocabulary.ts";

/** Unicode's category Cc, spelt out: a search for it costs a fraction of one by category. */
const controls = /[\0-\x1f\x7f-\x9f]/;
const text = v.pipe(v.string(), v.nonEmpty("must not be empty"));
const shortText = v.pipe(text, v.maxLength(256));
const strings = v.pipe(
  v.array(
    v.pipe(
      v.string(),
      v.maxLength(256),
      v.check((value) => !controls.test(value), "must not hold control characters"),
    ),
  ),
  v.maxLength(1024),
);
const version = v.pipe(v.number(), v.integer(), v.minValue(1));

/**
 * Text that people read in tables before they decide: no control characters, which could rewrite a terminal, and none that turn the
 * direction of writing around.
 */
const shownText = v.pipe(
  shortText,
  v.check(
    (value) => !controls.test(value) && !/[\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/.test(value),
    "must not hold control characters",
  ),
);

/** Every field a connect may carry, up to protocol 4 as of 2026.9.6. Closed: any other field is refused. */
const connectParams = v.strictObject({
  minProtocol: version,
  maxProtocol: version,
  client: v.strictObject({
    id: shownText,
    version: shownText,
    platform: shownText,
    mode: v.picklist(clientModes, (issue) => `unknown client mode ${issue.received}`),
    displayName: v.optional(shownText),
    deviceFamily: v.optional(shownText),
    modelIdentifier: v.optional(shownText),
    instanceId: v.optional(shownText),
    buildId: v.optional(v.pipe(text, v.maxLength(96))),
    timeZone: v.optional(v.pipe(text, v.maxLength(64))),
  }),
  role: v.optional(v.string()),
  scopes: v.optional(strings),
  caps: v.optional(strings),
  commands: v.optional(strings),
  permissions: v.optional(v.record(v.string(), v.boolean())),
  pathEnv: v.optional(v.string()),
  device: v.optional(
    v.strictObject({
      id: text,
      publicKey: text,
      signature: text,
      signedAt: v.pipe(v.number(), v.integer()),
      nonce: v.optional(v.string()),
    }),
  ),
  auth: v.optional(
    v.strictObject({
      token: v.optional(v.string()),
      password: v.optional(v.string()),
      deviceToken: v.optional(v.string()),
      bootstrapToken: v.optional(v.string()),
      approvalRuntimeToken: v.optional(v.string()),
      agentRuntimeIdentityToken: v.optional(v.string()),
    }),
  ),
  /** Ours: the device's side of a pairing code, sent only where a refusal has asked for it. */
  sas: v.optional(sasAnswer),
  locale: v.optional(v.string()),
  userAgent: v.optional(v.string()),
  computerUse: v.optional(v.unknown()),
  workerRuns: v.optional(v.unknown()),
  modelCatalog: v.optional(v.unknown()),
});

export type ConnectParams = v.InferOutput<typeof connectParams>;

/**
 * Unknown -> connect params, or what is wrong with them, with the path (`client.mode: …`).
 * `furtherClientIds` are ids a gateway's own configuration adds to the product's list.
 */
export function readConnectParams(
  value: unknown,
  furtherClientIds: readonly string[] = [],
): { readonly params: ConnectParams } | { readonly problem: string } {
  const read = v.safeParse(connectParams, value);
  if (!read.success) return { problem: describeIssues(read.issues) };
  const { id } = read.output.client;
  if (!(clientIds as readonly string[]).includes(id) && !furtherClientIds.includes(id)) {
    return { problem: `client.id: unknown client id ${JSON.stringify(id.slice(0, 64))}` };
  }
  return { params: read.output };
}

/** Characters of complaints that are worth sending back: they may quote what came, and that may be long. */
const maxProblemLength = 500;

/** The first few complaints of a schema, each with its path. */
export function describeIssues(issues: readonly v.BaseIssue<unknown>[]): string {
  return issues
    .slice(0, 3)
    .map((issue) => {
      const path = v.getDotPath(issue);
      return path === null ? issue.message : `${path}: ${issue.message}`;
    })
    .join("; ")
    .slice(0, maxProblemLength);
}

/** The version both sides speak, or undefined: 4 where the client can, else 3. */
export function agreeOnProtocol(params: Pick<ConnectParams, "minProtocol" | "maxProtocol">): number | undefined {
  for (let candidate: number = protocolRange.max; candidate >= protocolRange.min; candidate--) {
    if (params.minProtocol <= candidate && candidate <= params.maxProtocol) return candidate;
  }
  return undefined;
}

export interface Challenge {
  readonly nonce: string;
  /** The gateway's clock, in milliseconds; what a client with a wrong clock should sign. */
  readonly ts?: number;
}

const challenge = v.object({ nonce: text, ts: v.optional(v.number()) });

/** The payload of connect.challenge, or undefined when it is none. */
export function readChallenge(payload: unknown): Challenge | undefined {
  const read = v.safeParse(challenge, payload);
  if (!read.success) return undefined;
  const { nonce, ts } = read.output;
  return { nonce, ...(ts === undefined ? {} : { ts }) };
}

export interface HelloAuth {
  readonly role: string;
  readonly scopes: readonly string[];
  readonly method?: string;
  readonly deviceToken?: string;
  readonly issuedAtMs?: number;
  /** Scopes asked for and not granted, and why: nothing is stripped in silence. */
  readonly removedScopes?: readonly string[];
  readonly removedScopesReason?: string;
}

export interface HelloOk {
  readonly type: "hello-ok";
  readonly protocol: number;
  readonly server: { readonly version: string; readonly connId: string };
  readonly features: {
    readonly methods: readonly string[];
    readonly events: readonly string[];
    /** What the gateway can do beyond its methods' names; absent before 2026.9.6. */
    readonly capabilities?: readonly string[];
  };
  readonly snapshot: Readonly<Record<string, unknown>>;
  readonly policy: { readonly maxPayload: number; readonly maxBufferedBytes: number; readonly tickIntervalMs: number };
  readonly auth?: HelloAuth;
}

const optionalText = v.optional(v.string());

/** Open, because every version adds fields: what we rely on is checked, the rest is left in place. */
const helloOk = v.looseObject({
  type: v.literal("hello-ok"),
  protocol: v.pipe(v.number(), v.integer()),
  server: v.looseObject({ version: v.string(), connId: v.string() }),
  features: v.looseObject({
    methods: v.array(v.string()),
    events: v.array(v.string()),
    capabilities: v.optional(v.array(v.string())),
  }),
  snapshot: v.looseObject({}),
  policy: v.looseObject({ maxPayload: v.number(), maxBufferedBytes: v.number(), tickIntervalMs: v.number() }),
  auth: v.optional(
    v.looseObject({
      role: v.optional(v.string(), "operator"),
      scopes: v.optional(v.array(v.string()), []),
      method: optionalText,
      deviceToken: optionalText,
      issuedAtMs: v.optional(v.number()),
      removedScopes: v.optional(v.array(v.string())),
      removedScopesReason: optionalText,
    }),
  ),
});

/** The payload of the response to connect, or what is wrong with it. */
export function readHelloOk(payload: unknown): { readonly hello: HelloOk } | { readonly problem: string } {
  const read = v.safeParse(helloOk, payload);
  return read.success ? { hello: read.output as HelloOk } : { problem: describeIssues(read.issues) };
}

/** The refusal of a role that does not exist, in the words of every product version. */
export const invalidRole: WireError = {
  code: "INVALID_REQUEST",
  message: `invalid role (known: ${roles.join(", ")})`,
};

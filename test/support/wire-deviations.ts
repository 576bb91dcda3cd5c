/** What differs on purpose from the schemas that the product publishes, each with its reason. A difference that is gone must leave the list. */
type Deviations = Readonly<Record<string, string>>;

/** What the product's own 2026.9.6 says too, although the schemas of 2026.9.1 are closed and lack it. */
const newerThanTheSchemas: Deviations = {
  "connect result /auth/method is not in the schema": "says by which credential the caller came in",
  "connect result /snapshot/presence/*/clientId is not in the schema": "tells one program of a machine from another",
  "presence event /* /clientId is not in the schema": "as in the snapshot",
};

/** What we say otherwise than the schemas, and why. Clients ignore fields that they do not know (transcripts of all versions). */
export const ours: Deviations = {
  ...newerThanTheSchemas,
  "system-presence result /* /clientId is not in the schema": "as in the snapshot",
  "connect result /auth/removedScopes is not in the schema": "no scope is taken away in silence",
  "connect result /auth/removedScopesReason is not in the schema": "no scope is taken away in silence",
  "connect result /snapshot/node is not in the schema": "a node learns at once whether its command list waits",
  "connect params /sas is not in the schema":
    "the device's side of a pairing code; goes only to gateways whose refusal asked for it",
  "device.pair.requested event /reason is not in the schema": "says why a device that is known asks again",
  "device.pair.requested event /keyless is not in the schema":
    "who approves has to know that the token will be good for whoever holds it",
  "device.pair.setupCode params /ttlMs is not in the schema":
    "this and the next go only to gateways with the capability invites",
  "device.pair.setupCode params /displayName is not in the schema": "what the node is to be called",
  "device.pair.setupCode params /forDeviceId is not in the schema": "an invite that only one key can use",
  "device.pair.setupCode params /commands is not in the schema": "an invite that approves no more than these",
  "device.pair.setupCode params /tlsFingerprint is not in the schema":
    "the certificate of a proxy in front of the gateway",
  "device.pair.reject params /reason is not in the schema":
    "goes only to gateways with the capability pair-reject-reason",
  "node.pair.reject params /reason is not in the schema":
    "goes only to gateways with the capability pair-reject-reason",
  "device.token.rotate params /overlapMs is not in the schema":
    "goes only to gateways with the capability token-handover",
  "device.token.rotate params /critical is not in the schema":
    "goes only to gateways with the capability token-handover",
  "device.token.rotate result /overlapUntilMs is not in the schema": "answers overlapMs, and nobody else",
  "device.token.rotate result /state is not in the schema": "answers overlapMs, and nobody else",
  "device.token.rotate result /pushed is not in the schema": "answers overlapMs, and nobody else",
  "node.invoke.request event /paramsJSON must be string": "null for no params (protocol.md § 7.3)",
};

/** What the real programs say otherwise than the schemas of 2026.9.1, by the version that was recorded. */
export const theirs: Readonly<Record<string, Deviations>> = {
  "2026.3.8": {
    "connect result /auth is missing": "there was none for callers without a device",
    "connect result /canvasHostUrl is not in the schema": "was dropped later",
    "node.event result /event is missing": "came later",
    "node.event result /handled is missing": "came later",
  },
  "2026.5.27": {},
  "2026.9.6": {
    ...newerThanTheSchemas,
    "connect result /controlUiLinkReaders is not in the schema": "came later",
    "connect result /snapshot/health/eventLoop/cpuBreakdown is not in the schema": "came later",
  },
};

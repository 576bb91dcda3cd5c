/** The wire's limits, each with its unit and its reason. Gateways and clients check them before they do any work. */

/** Bytes one side may send before hello-ok: a connect frame is about 2 KiB, and nobody is known yet. */
export const maxBytesBeforeHello = 64 * 1024;

/** Bytes of one message after hello-ok, as every product version has it (25 MiB). */
export const maxPayloadBytes = 25 * 1024 * 1024;

/** Bytes that may wait to be sent to one peer before it counts as too slow and is closed with 1008 (50 MiB). */
export const maxBufferedBytes = 50 * 1024 * 1024;

/** Levels of nesting in one message. Real frames stay under 20; re-encoding is recursive and must not overflow the stack. */
export const maxNesting = 128;

/** Milliseconds a client has to send its connect frame. */
export const handshakeDeadlineMs = 10_000;

/** Milliseconds between two `tick` events. A client that hears nothing for twice as long closes with 4000. */
export const tickIntervalMs = 30_000;

/** Milliseconds between two WebSocket pings of the gateway; a peer that has not answered the last one is gone. */
export const pingIntervalMs = 25_000;

/** Milliseconds by which `signedAt` may differ from the gateway's clock, either way (119 s passes, 121 s does not). */
export const maxClockSkewMs = 120_000;

/** Milliseconds a pairing request waits for a decision; a refresh by the same key renews it. */
export const pairingRequestLifeMs = 300_000;

/** Milliseconds a node has to answer an invoke when the operator named no time. */
export const defaultInvokeTimeoutMs = 30_000;

/** Milliseconds an invoke may ask for at the most: an hour. */
export const maxInvokeTimeoutMs = 3_600_000;

/** Milliseconds that an invite may live at the most: a week. */
export const maxInviteLifeMs = 7 * 86_400_000;

/** Milliseconds that an old device token may live on beside the one that follows it: 30 days. */
export const maxOverlapMs = 30 * 86_400_000;

/** Members of one JSON-RPC batch: each may be a call that somebody waits for. */
export const maxBatchMembers = 64;

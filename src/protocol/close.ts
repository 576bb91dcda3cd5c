/** Why a connection ended: WebSocket close codes as the gateways use them (protocol.md § 1.5). */

export const closeCodes = {
  normal: 1000,
  protocolMismatch: 1002,
  policy: 1008,
  tooBig: 1009,
  internal: 1011,
  serviceRestart: 1012,
  tryAgainLater: 1013,
  tickTimeout: 4000,
  credentialChanged: 4001,
} as const;

/** A close frame's reason may hold 123 bytes (RFC 6455 § 5.5); the product cuts at 120, and so do we. */
const maxReasonBytes = 120;

/** `reason` cut to what a close frame holds, never in the middle of a character. */
export function closeReason(reason: string): string {
  if (Buffer.byteLength(reason) <= maxReasonBytes) return reason;
  const cut = Buffer.from(reason).subarray(0, maxReasonBytes).toString("utf8");
  return cut.replace(/\uFFFD+$/u, "");
}

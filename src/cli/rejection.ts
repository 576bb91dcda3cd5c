/** The params of a rejection: the reason goes along only where the gateway takes one, for the product's params are closed. */
import type { GatewaySession } from "../client/gateway-session.ts";

export function rejection(
  { hello }: GatewaySession,
  requestId: string,
  reason: string | undefined,
): { requestId: string; reason?: string } {
  const takesReason = hello.features.capabilities?.includes("pair-reject-reason") === true;
  return { requestId, ...(reason !== undefined && takesReason ? { reason } : {}) };
}

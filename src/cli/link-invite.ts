/** The invite by which a gateway lets the node at the other end of a link in: once, for a few minutes, and where it can, for its key alone. */
import type { GatewaySession } from "../client/gateway-session.ts";
import { isFailure, OpenClawError } from "../errors.ts";
import { readSetupCode } from "../protocol/setup-code.ts";

export interface Invite {
  /** Absent where the gateway has no way to take it back. */
  readonly inviteId?: string;
  readonly bootstrapToken: string;
}

export interface InviteWish {
  /** The gateway's address, as its own machine has it. */
  readonly url: string;
  /** Who may come. */
  readonly deviceId: string;
  /** The most that it may be asked for. */
  readonly commands: readonly string[];
}

/** Long enough for every step that follows. */
const inviteLifeMs = 120_000;

/**
 * Asks this machine's gateway for an invite. Gateways of ours bind it to the peer's key; the product's bind it to who comes
 * first. Throws `incompatible` where there are no invites (2026.3.8, whose setup codes carry the gateway's own secret).
 */
export async function mintInvite(session: GatewaySession, { url, deviceId, commands }: InviteWish): Promise<Invite> {
  const own = session.hello.features.capabilities?.includes("invites") === true;
  const bound = own ? { forDeviceId: deviceId, commands: [...commands], ttlMs: inviteLifeMs } : {};
  try {
    const made = await session.call("device.pair.setupCode", { publicUrl: url, bootstrapProfile: "node", ...bound });
    const read = readSetupCode(made.setupCode);
    if ("problem" in read) throw noInvites(session, read.problem);
    const { setupId } = made;
    return { bootstrapToken: read.code.bootstrapToken, ...(own && setupId !== undefined && { inviteId: setupId }) };
  } catch (error) {
    if (isFailure(error, "protocol")) throw noInvites(session, error.message);
    throw error;
  }
}

/** Takes an invite back; one that was used, or is forgotten, has nothing to take back. */
export async function withdrawInvite(session: GatewaySession, inviteId: string): Promise<void> {
  try {
    await session.call("device.pair.setupWithdraw", { setupId: inviteId });
  } catch (error) {
    if (!isFailure(error, "not-found", "conflict", "protocol")) throw error;
  }
}

function noInvites({ hello }: GatewaySession, why: string): OpenClawError {
  return new OpenClawError("incompatible", `the gateway ${hello.server.version} makes no invite (${why})`, {
    hint: "update it, or pair by hand: openclaw tunnel open, then openclaw node run on both sides with the gateway's token",
  });
}

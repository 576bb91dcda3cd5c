/** Making an invite: which address goes into it, what it allows, and what the gateway can promise of that. */
import type { GatewaySession } from "../client/gateway-session.ts";
import { isLoopbackHost } from "../config/address.ts";
import { parseDuration } from "../config/duration.ts";
import { formatGatewayUrl, parseGatewayUrl } from "../config/gateway-url.ts";
import { isCertificatePin } from "../config/tls-fingerprint.ts";
import { isFailure, OpenClawError } from "../errors.ts";
import { maxInviteLifeMs } from "../protocol/limits.ts";
import type { MethodParams } from "../protocol/methods.ts";
import { readSetupCode, setupLink } from "../protocol/setup-code.ts";
import { digest } from "../secret.ts";
import type { Context } from "./context.ts";
import type { TargetFlags } from "./target-options.ts";

export interface InviteFlags extends TargetFlags {
  readonly role: string;
  readonly ttl?: string;
  readonly displayName?: string;
  readonly publicUrl?: string;
  readonly for?: string;
  readonly command?: readonly string[];
}

export interface MadeInvite {
  readonly code: string;
  readonly link: string;
  readonly url: string;
  readonly expiresAtMs?: number;
  /** Absent where the gateway names none. */
  readonly inviteId?: string;
  readonly role: "node";
  /** Stands for the secret. */
  readonly digest: string;
  readonly tlsFingerprint?: string;
  readonly forDeviceId?: string;
}

type SetupParams = MethodParams<"device.pair.setupCode">;

/** What only gateways of ours take; `usage` for what cannot be meant. */
export function readInviteFlags({ role, ttl, displayName, for: forDeviceId, command }: InviteFlags): SetupParams {
  if (role !== "node") {
    throw new OpenClawError("usage", `there are no invites for the role ${JSON.stringify(role)}`, {
      hint: "an operator asks with openclaw pair request, and is approved by a person",
    });
  }
  const ttlMs = ttl === undefined ? undefined : parseDuration(ttl, "--ttl");
  if (ttlMs !== undefined && (ttlMs < 1000 || ttlMs > maxInviteLifeMs)) {
    throw new OpenClawError("usage", `--ttl ${JSON.stringify(ttl)} is not between 1s and 7d`);
  }
  if (forDeviceId !== undefined && !/^[0-9a-f]{64}$/u.test(forDeviceId)) {
    throw new OpenClawError("usage", "--for is not a whole device id", {
      hint: "openclaw identity show prints it on the machine that is to join",
    });
  }
  return {
    ...(ttlMs === undefined ? {} : { ttlMs }),
    ...(displayName === undefined ? {} : { displayName }),
    ...(forDeviceId === undefined ? {} : { forDeviceId }),
    ...(command === undefined ? {} : { commands: [...command] }),
  };
}

/** Has the gateway make one. `usage` when nobody has said how others reach it, `incompatible` for a promise that it cannot make. */
export async function makeInvite(
  context: Context,
  flags: InviteFlags,
  wanted: SetupParams,
  session: GatewaySession,
): Promise<MadeInvite> {
  const isOurs = session.hello.features.capabilities?.includes("invites") === true;
  if (!isOurs && Object.keys(wanted).length > 0) {
    throw new OpenClawError(
      "incompatible",
      "this gateway makes setup codes of one kind only: 10 minutes, for any device",
      {
        hint: "leave --ttl, --display-name, --for and --command out",
      },
    );
  }
  const { address } = await context.target(flags);
  const publicUrl = addressOfInvite(flags, address.url);
  const isSameAddress = publicUrl !== undefined && publicUrl === plain(address.url);
  // Codes have room for a certificate's; our gateway knows its own.
  const pin = isOurs && isSameAddress ? address.tlsFingerprint : undefined;
  const tlsFingerprint = pin !== undefined && isCertificatePin(pin) ? pin : undefined;
  const params = {
    bootstrapProfile: "node",
    ...(publicUrl === undefined ? {} : { publicUrl }),
    ...(tlsFingerprint === undefined ? {} : { tlsFingerprint }),
    ...wanted,
  };
  const { setupCode, setupId } = await ask(session, params);
  const read = readSetupCode(setupCode);
  if ("problem" in read)
    throw new OpenClawError("protocol", `the gateway made a code that cannot be read: ${read.problem}`);
  const { bootstrapToken, urls: _urls, ...shown } = read.code;
  return {
    code: setupCode,
    link: setupLink(setupCode),
    ...shown,
    ...(setupId === undefined ? {} : { inviteId: setupId }),
    role: "node",
    digest: digest(bootstrapToken),
    ...(wanted.forDeviceId === undefined ? {} : { forDeviceId: wanted.forDeviceId }),
  };
}

/**
 * What a person named outright, else the address by which we came, unless that is loopback: then the gateway may know a better one. A loopback
 * address in an invite leads every other machine to itself.
 */
function addressOfInvite({ publicUrl, url }: InviteFlags, dialled: string): string | undefined {
  if (publicUrl !== undefined) return plain(formatGatewayUrl(parseGatewayUrl(publicUrl, "--public-url")));
  return url !== undefined || !isLoopbackHost(new URL(dialled).hostname) ? plain(dialled) : undefined;
}

/** Without the slash of an empty path, as the product writes addresses into codes. */
function plain(url: string): string {
  return new URL(url).pathname === "/" ? url.replace(/\/$/u, "") : url;
}

async function ask(session: GatewaySession, params: SetupParams) {
  try {
    return await session.call("device.pair.setupCode", params);
  } catch (error) {
    if (!isFailure(error) || params.publicUrl !== undefined) throw error;
    const isLoopback = error.details?.["code"] === "PUBLIC_URL_REQUIRED" || /loopback/iu.test(error.message);
    if (!isLoopback) throw error;
    throw new OpenClawError(
      "usage",
      "this gateway listens on loopback only, so nobody knows under which address the node reaches it",
      {
        hint: "name it with --public-url wss://host:port; for a node on this machine, or behind a tunnel, ws://127.0.0.1:port",
        details: { ...error.details },
        cause: error,
      },
    );
  }
}

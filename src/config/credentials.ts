/**
 * Which credentials go to a gateway. A credential belongs to a gateway: what a person gives for this command may go wherever the
 * command goes; what a file holds for one gateway goes to no other.
 */
import { OpenClawError } from "../errors.ts";
import type { Secret } from "../secret.ts";

type CredentialOrigin = "flag" | "env" | "device" | "toolkit-config" | "product-config" | "token-file";

/** The gateways that a configuration knows, and any other one. */
export type GatewayChoice = "local" | "remote" | "other";

export interface CredentialCandidate {
  readonly kind: "token" | "password" | "device-token";
  readonly from: CredentialOrigin;
  /** The flag, the variable, or the setting. */
  readonly name: string;
  /** The file it stands in. */
  readonly path?: string;
  readonly value: Secret;
  /** The gateway it was configured for; without it, the one that the command names. */
  readonly belongsTo?: "local" | "remote";
}

/** A credential, and whether it goes along. */
export interface CredentialSource extends CredentialCandidate {
  readonly used: boolean;
  /** Why not, for `auth explain`. */
  readonly why?: string;
}

export interface CredentialPolicy {
  readonly gateway: GatewayChoice;
  /** `gateway.auth.mode`, where the local gateway is the one. */
  readonly localAuthMode?: "token" | "password" | "trusted-proxy" | "none" | undefined;
}

/**
 * Decides about all candidates, which come strongest first: flags, environment, the device's own token, files. The strongest source
 * that has something for this gateway provides the credentials; weaker ones are kept, with the reason why they stay behind, because
 * a wrong credential beside a right one is a failed attempt.
 */
export function rankCredentials(
  candidates: readonly CredentialCandidate[],
  policy: CredentialPolicy,
): readonly CredentialSource[] {
  const used: CredentialCandidate[] = [];
  return candidates.map((candidate): CredentialSource => {
    const why = misfit(candidate, policy) ?? outranked(candidate, used);
    if (why !== undefined) return { ...candidate, used: false, why };
    used.push(candidate);
    return { ...candidate, used: true };
  });
}

/**
 * `usage` when a credential that is to be sent cannot be. A token travels in a header and in a frame, and must be the same in both:
 * only ASCII is (RFC 9110 § 5.5). A password may be in any script, on one line.
 */
export function assertSendable({ kind, name, value }: CredentialSource): void {
  const inAscii = kind !== "password";
  if ((inAscii ? /^[\x20-\x7e]+$/ : /^\P{Cc}+$/u).test(value.reveal())) return;
  throw new OpenClawError("usage", `${name} has characters in it that a ${kind} cannot have`, {
    hint: `keep only the ${kind} itself, on one line${inAscii ? ", in ASCII" : ""}`,
  });
}

function misfit(
  { kind, belongsTo }: CredentialCandidate,
  { gateway, localAuthMode }: CredentialPolicy,
): string | undefined {
  if (belongsTo === undefined) return undefined;
  if (belongsTo !== gateway) {
    return belongsTo === "local" ? "belongs to this machine's gateway" : "belongs to the gateway at gateway.remote.url";
  }
  const otherMode = kind === "token" ? "password" : "token";
  if (belongsTo === "local" && localAuthMode === otherMode) return `gateway.auth.mode is ${otherMode}`;
  return undefined;
}

function outranked(candidate: CredentialCandidate, used: readonly CredentialCandidate[]): string | undefined {
  const stronger = used.find(({ from, kind }) => rankOf(from) < rankOf(candidate.from) || kind === candidate.kind);
  return stronger === undefined ? undefined : `${stronger.name} comes first`;
}

function rankOf(from: CredentialOrigin): number {
  switch (from) {
    case "flag":
      return 0;
    case "env":
      return 1;
    case "device":
      return 2;
    case "toolkit-config":
    case "product-config":
      return 3;
    // Our gateway makes itself a token only while nothing is configured; an old one may still lie there.
    case "token-file":
      return 4;
  }
}

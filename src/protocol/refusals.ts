/**
 * Every way a gateway refuses a connect, in one table read from both ends: the gateway takes the error frame and the
 * close code from it, the client what the refusal means and whether waiting, retrying or neither can help.
 * protocol.md §§ 3, 4.10, 5.
 */
import type { FailureCode } from "../errors.ts";
import { closeCodes } from "./close.ts";

/**
 * What the refused side should do: `retry` later by itself, `wait` for a person's approval, `forget` the stored device token
 * and try with something else, or `stop`, because the same words will get the same answer.
 */
export type Remedy = "retry" | "wait" | "forget" | "stop";

interface Refusal {
  /** `error.code` of the response. */
  readonly wire: "INVALID_REQUEST" | "NOT_PAIRED" | "UNAVAILABLE";
  readonly failure: FailureCode;
  readonly remedy: Remedy;
  readonly close?: number;
}

const refused = (failure: FailureCode, remedy: Remedy = "stop"): Refusal => ({
  wire: "INVALID_REQUEST",
  failure,
  remedy,
});

const notPaired = (failure: FailureCode, remedy: Remedy = "stop"): Refusal => ({ wire: "NOT_PAIRED", failure, remedy });

/** By `error.details.code`. */
export const refusals = {
  AUTH_REQUIRED: refused("unauthorized"),
  AUTH_UNAUTHORIZED: refused("unauthorized"),
  AUTH_TOKEN_MISSING: refused("credential-missing"),
  AUTH_PASSWORD_MISSING: refused("credential-missing"),
  AUTH_TOKEN_MISMATCH: refused("token-mismatch"),
  AUTH_PASSWORD_MISMATCH: refused("password-mismatch"),
  AUTH_TOKEN_NOT_CONFIGURED: refused("unauthorized"),
  AUTH_PASSWORD_NOT_CONFIGURED: refused("unauthorized"),
  AUTH_DEVICE_TOKEN_MISMATCH: refused("device-token-mismatch", "forget"),
  AUTH_SCOPE_MISMATCH: refused("scope-missing"),
  AUTH_BOOTSTRAP_TOKEN_INVALID: refused("bootstrap-invalid"),
  AUTH_RATE_LIMITED: refused("rate-limited", "retry"),
  AUTH_IDENTITY_HEADER_REQUIRED: refused("unauthorized"),
  AUTH_TAILSCALE_IDENTITY_MISSING: refused("unauthorized"),
  AUTH_TAILSCALE_PROXY_MISSING: refused("unauthorized"),
  AUTH_TAILSCALE_WHOIS_FAILED: refused("unauthorized"),
  AUTH_TAILSCALE_IDENTITY_MISMATCH: refused("unauthorized"),
  AUTH_VERIFIED_USER_REQUIRED: notPaired("unauthorized"),
  DEVICE_IDENTITY_REQUIRED: notPaired("device-identity-required"),
  CONTROL_UI_DEVICE_IDENTITY_REQUIRED: refused("device-identity-required"),
  CONTROL_UI_ORIGIN_NOT_ALLOWED: refused("forbidden"),
  DEVICE_AUTH_INVALID: refused("device-signature-refused"),
  DEVICE_AUTH_DEVICE_ID_MISMATCH: refused("device-signature-refused"),
  DEVICE_AUTH_SIGNATURE_EXPIRED: refused("clock-skew"),
  DEVICE_AUTH_NONCE_REQUIRED: refused("device-signature-refused"),
  DEVICE_AUTH_NONCE_MISMATCH: refused("device-signature-refused"),
  DEVICE_AUTH_SIGNATURE_INVALID: refused("device-signature-refused"),
  DEVICE_AUTH_PUBLIC_KEY_INVALID: refused("device-signature-refused"),
  PAIRING_REQUIRED: notPaired("pairing-required", "wait"),
  PROTOCOL_MISMATCH: { ...refused("incompatible"), close: closeCodes.protocolMismatch },
  CLIENT_VERSION_MISMATCH: refused("incompatible"),
} as const satisfies Record<string, Refusal>;

export type RefusalCode = keyof typeof refusals;

/** The row of a `details.code`, or undefined for one that no version we know sends. */
export function findRefusal(code: unknown): Refusal | undefined {
  return typeof code === "string" && Object.hasOwn(refusals, code) ? refusals[code as RefusalCode] : undefined;
}

/** The close code that follows the error frame. */
export function refusalClose(code: RefusalCode): number {
  return findRefusal(code)?.close ?? closeCodes.policy;
}

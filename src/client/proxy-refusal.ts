/** What to do about a gateway that lets in whom its proxy names, and nobody else without the gateway's password. */
import { OpenClawError } from "../errors.ts";
import type { Credential } from "./connect-gateway.ts";

/** The failure with the way around it, when a gateway in trusted-proxy mode missed its proxy (auth.md § 3); else the failure itself. */
export function explainProxyRefusal(error: OpenClawError, credential: Credential | undefined): OpenClawError {
  const reason = error.details?.["authReason"];
  if (typeof reason !== "string" || !reason.startsWith("trusted_proxy_")) return error;
  if (reason === "trusted_proxy_user_not_allowed") {
    return new OpenClawError(error.code, error.message, {
      hint: "the proxy's user has to be in gateway.auth.trustedProxy.allowUsers there",
      details: error.details,
      cause: error,
    });
  }
  const message = error.message.includes(reason) ? error.message : `${error.message} (${reason})`;
  return new OpenClawError(error.code, message, {
    hint:
      credential?.kind === "password"
        ? "the gateway trusts its proxy alone and did not look at the password: it has none, or its version takes none in this mode (2026.3.8 does not). Connect through the proxy, or update the gateway"
        : "the gateway trusts its proxy: connect through that, or come from the gateway's own host or a tunnel to it with the gateway's password (--password-file or OPENCLAW_GATEWAY_PASSWORD)",
    details: error.details,
    cause: error,
  });
}

/**
 * device.pair.setup*: invites of this gateway in the product's words (protocol.md § 4.7). setupCode and setupStatus are the product's, with
 * params of ours; setupInspect, setupList and setupWithdraw are ours (capability `invites`).
 */
import type { InviteRecord } from "../../pairing/invites.ts";
import { optional } from "../../pairing/requests.ts";
import type { MethodHandlers } from "../../protocol/methods.ts";
import { encodeSetupCode, readSetupCode } from "../../protocol/setup-code.ts";
import { invalidRequest } from "../../protocol/wire-error.ts";
import { credentialDigest } from "../../secret.ts";
import type { CallContext } from "../dispatch.ts";
import { pinFor, reachableUrl } from "../endpoint.ts";
import { inviteSummary } from "../records/invites.ts";
import { deciderOf } from "./callers.ts";
import type { MethodHouse } from "./house.ts";

type InviteMethods = Pick<
  MethodHandlers<CallContext>,
  | "device.pair.setupCode"
  | "device.pair.setupStatus"
  | "device.pair.setupInspect"
  | "device.pair.setupList"
  | "device.pair.setupWithdraw"
>;

export function inviteMethods({ tables, invites, endpoint, policy, runtime }: MethodHouse): InviteMethods {
  return {
    "device.pair.setupCode": async ({ session }, { publicUrl, bootstrapProfile = "node", ttlMs, ...wanted }) => {
      if (bootstrapProfile !== "node") {
        throw invalidRequest(`this gateway makes invites for nodes only, not of profile ${bootstrapProfile}`);
      }
      const own = publicUrl === undefined ? reachableUrl(endpoint()) : undefined;
      const url = publicUrl ?? own;
      if (url === undefined) {
        throw invalidRequest(
          "this gateway listens on loopback only: say under which address others reach it (publicUrl)",
          {
            code: "PUBLIC_URL_REQUIRED",
          },
        );
      }
      const tlsFingerprint = wanted.tlsFingerprint ?? pinFor(url, endpoint(), own !== undefined);
      const parts = { url, ...optional("tlsFingerprint", tlsFingerprint) };
      assertReadable(parts);
      const { displayName, forDeviceId, commands } = wanted;
      const ask = {
        ...parts,
        ...optional("displayName", displayName),
        ...optional("forDeviceId", forDeviceId),
        ...optional("commands", commands),
        lifeMs: ttlMs,
      };
      const { invite, secret } = await invites.mint(ask, deciderOf(session));
      const { inviteId: setupId, expiresAtMs } = invite;
      return {
        setupId,
        setupCode: encodeSetupCode({ ...parts, bootstrapToken: secret, expiresAtMs }),
        gatewayUrl: url,
        auth: policy.auth.mode === "password" ? "password" : "token",
        urlSource: publicUrl === undefined ? "gateway.bind" : "publicUrl",
        access: "node",
        expiresAtMs,
      };
    },

    "device.pair.setupStatus": async (_context, { setupId }) => {
      await tables.refresh();
      const completion = completionOf(invites.find(setupId));
      return completion === undefined ? {} : { completion };
    },

    "device.pair.setupInspect": async ({ session: { facts } }, { bootstrapToken }) => {
      await tables.refresh();
      const bearer = { deviceId: undefined, role: facts.role, scopes: [] };
      const verdict = invites.judge(credentialDigest(bootstrapToken), bearer, undefined);
      if (verdict.invite === undefined) {
        throw invalidRequest(verdict.ok ? "unknown invite" : verdict.message, { code: "UNKNOWN_INVITE" });
      }
      return { ...inviteSummary(verdict.invite, runtime.now()), ...(verdict.ok ? {} : { reason: verdict.message }) };
    },

    "device.pair.setupList": async () => {
      await tables.refresh();
      return { invites: invites.list() };
    },

    "device.pair.setupWithdraw": async ({ session }, { setupId }) => {
      const withdrawnAtMs = await invites.withdraw(setupId, deciderOf(session));
      return { setupId, withdrawnAtMs };
    },
  };
}

/** What would be in the code is read as a stranger will read it: a code that nobody can use is not made. */
function assertReadable(parts: { readonly url: string; readonly tlsFingerprint?: string }): void {
  const read = readSetupCode(encodeSetupCode({ ...parts, bootstrapToken: "0".repeat(43), expiresAtMs: 0 }));
  if ("problem" in read) throw invalidRequest(`no code can be made of this: ${read.problem}`);
}

function completionOf({ inviteId, usedAtMs, usedBy, usedByName }: InviteRecord) {
  if (usedAtMs === undefined || usedBy === undefined) return undefined;
  const name = optional("deviceName", usedByName);
  return { setupId: inviteId, deviceId: usedBy, ...name, access: "node", ts: usedAtMs } as const;
}

/** `openclaw pair invites` */
import type { Command } from "commander";
import type { InviteSummary } from "../../../protocol/methods.ts";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";
import { ago, span } from "../../human.ts";
import { asOperator } from "../../operator.ts";
import { type TargetFlags, withTarget } from "../../target-options.ts";

export function invitesCommand(context: Context): Command {
  return withTarget(
    defineCommand("invites", "the invites that were made, and what became of them", ["openclaw pair invites"]),
  ).action(async (flags: TargetFlags) => {
    const { invites } = await asOperator(context, flags, ["operator.admin"], (session) =>
      session.call("device.pair.setupList", {}),
    );
    const named = invites.map(({ setupId, ...invite }) => ({ inviteId: setupId, ...invite }));
    context.output.result({ invites: named }, (value) => {
      if (value.invites.length === 0) return "No invites were made.";
      const columns = ["INVITE", "STATE", "NAME", "FOR", "WHEN", "BY"].map((title) => ({
        title,
        keep: title === "INVITE",
      }));
      const rows = value.invites.map((invite) => [
        invite.inviteId,
        invite.state,
        invite.displayName ?? "",
        invite.forDeviceId?.slice(0, 8) ?? "any device",
        when(invite, context.runtime.now()),
        invite.usedBy === undefined ? "" : (invite.usedByName ?? invite.usedBy.slice(0, 8)),
      ]);
      return context.output.table(columns, rows);
    });
  });
}

function when({ state, usedAtMs, withdrawnAtMs, expiresAtMs }: Omit<InviteSummary, "setupId">, nowMs: number): string {
  if (state === "open") return `${span(expiresAtMs - nowMs)} left`;
  return ago(usedAtMs ?? withdrawnAtMs ?? expiresAtMs, nowMs);
}

/** `openclaw pair withdraw` */
import type { Command } from "commander";
import { matchId } from "../../../identity/match-id.ts";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";
import { asOperator } from "../../operator.ts";
import { type TargetFlags, withTarget } from "../../target-options.ts";

export function withdrawCommand(context: Context): Command {
  return withTarget(
    defineCommand("withdraw", "take an invite back that nobody has used", ["openclaw pair withdraw 3f2a91c4"]).argument(
      "<invite>",
      "the invite's id, or a unique prefix of it",
    ),
  ).action(async (wanted: string, flags: TargetFlags) => {
    const withdrawn = await asOperator(context, flags, ["operator.admin"], async (session) => {
      const { invites } = await session.call("device.pair.setupList", {});
      const candidates = invites.map(({ setupId, displayName }) => ({
        id: setupId,
        names: displayName === undefined ? [] : [displayName],
      }));
      const { id } = matchId(wanted, candidates, "invite", "openclaw pair invites");
      const { withdrawnAtMs } = await session.call("device.pair.setupWithdraw", { setupId: id });
      return { inviteId: id, withdrawnAtMs };
    });
    context.output.result(withdrawn, ({ inviteId }) => `Withdrew invite ${inviteId}`);
  });
}

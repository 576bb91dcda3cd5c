/** `openclaw pair …` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { defineGroup } from "../../globals.ts";
import { approveCommand } from "./approve.ts";
import { endCommand } from "./end.ts";
import { linkCommand } from "./link.ts";
import { inviteCommand } from "./invite.ts";
import { invitesCommand } from "./invites.ts";
import { joinCommand } from "./join.ts";
import { listCommand } from "./list.ts";
import { rejectCommand } from "./reject.ts";
import { requestCommand } from "./request.ts";
import { verifyCommand } from "./verify.ts";
import { withdrawCommand } from "./withdraw.ts";
import { statusCommand } from "./status.ts";
import { unlinkCommand } from "./unlink.ts";

export function pairCommand(context: Context, verb?: string): Command {
  return defineGroup(
    context,
    verb,
    "pair",
    "ask for pairing, and decide about those who ask",
    ["openclaw pair list", "openclaw pair approve 3f2a91c4 --surface"],
    {
      request: requestCommand,
      list: listCommand,
      approve: approveCommand,
      reject: rejectCommand,
      invite: inviteCommand,
      invites: invitesCommand,
      withdraw: withdrawCommand,
      join: joinCommand,
      verify: verifyCommand,
      link: linkCommand,
      status: statusCommand,
      unlink: unlinkCommand,
      end: endCommand,
    },
  );
}

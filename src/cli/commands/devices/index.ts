/** `openclaw devices …` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { defineGroup } from "../../globals.ts";
import { approveCommand } from "./approve.ts";
import { clearCommand } from "./clear.ts";
import { listCommand } from "./list.ts";
import { rejectCommand } from "./reject.ts";
import { removeCommand } from "./remove.ts";
import { renameCommand } from "./rename.ts";
import { revokeCommand } from "./revoke.ts";
import { rotateCommand } from "./rotate.ts";
import { serviceAccountCommand } from "./service-account.ts";

export function devicesCommand(context: Context, verb?: string): Command {
  return defineGroup(
    context,
    verb,
    "devices",
    "approve, name, rotate, revoke and remove devices",
    ["openclaw devices list", "openclaw devices approve 3f2a91"],
    {
      list: listCommand,
      approve: approveCommand,
      reject: rejectCommand,
      remove: removeCommand,
      rename: renameCommand,
      rotate: rotateCommand,
      revoke: revokeCommand,
      clear: clearCommand,
      "service-account": serviceAccountCommand,
    },
  );
}

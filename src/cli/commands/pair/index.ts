/** `openclaw pair …` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { defineGroup } from "../../globals.ts";
import { approveCommand } from "./approve.ts";
import { listCommand } from "./list.ts";
import { rejectCommand } from "./reject.ts";
import { requestCommand } from "./request.ts";

export function pairCommand(context: Context): Command {
  return defineGroup(
    "pair",
    "ask for pairing, and decide about those who ask",
    ["openclaw pair list", "openclaw pair approve 3f2a91c4 --surface"],
    [requestCommand(context), listCommand(context), approveCommand(context), rejectCommand(context)],
  );
}

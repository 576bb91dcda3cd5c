/** `openclaw pair list` */
import type { Command } from "commander";
import { formatPairingCode } from "../../../protocol/pairing-code.ts";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";
import { nameToShow } from "../../device-directory.ts";
import { ago, list } from "../../human.ts";
import { asOperator, noteWhatIsHidden } from "../../operator.ts";
import { listPending, type PendingRequest } from "../../pending-requests.ts";
import { type TargetFlags, withTarget } from "../../target-options.ts";

export function listCommand(context: Context): Command {
  return withTarget(
    defineCommand("list", "everything that waits for approval: devices, and command lists of nodes", [
      "openclaw pair list",
    ]),
  ).action(async (flags: TargetFlags) => {
    const pending = await asOperator(context, flags, ["operator.pairing"], async (session) => {
      noteWhatIsHidden(context, session);
      return listPending(session);
    });
    context.output.result({ pending }, (value) => {
      if (value.pending.length === 0) return "Nothing waits for approval.";
      const columns = ["REQUEST", "LAYER", "CODE", "DEVICE", "NAME", "ASKS FOR", "ASKED"].map((title) => ({
        title,
        keep: title === "REQUEST" || title === "DEVICE",
      }));
      const rows = value.pending.map((request) => [
        request.requestId,
        request.layer,
        request.layer === "device" && request.sas !== undefined ? formatPairingCode(request.sas) : "",
        request.fingerprint,
        nameToShow(request),
        wanted(request),
        ago(request.ts, context.runtime.now()),
      ]);
      return context.output.table(columns, rows);
    });
  });
}

function wanted(request: PendingRequest): string {
  if (request.layer === "surface") return list(request.commands);
  return request.scopes.length === 0 ? request.role : `${request.role}: ${list(request.scopes)}`;
}

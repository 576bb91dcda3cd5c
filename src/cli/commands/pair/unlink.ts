/** `openclaw pair unlink` */
import type { Command } from "commander";
import { isFailure, OpenClawError } from "../../../errors.ts";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";
import type { LinkFlags } from "../../link-host.ts";
import { addSshOptions, type SshFlags } from "../../ssh-options.ts";
import type { LinkRecord } from "../../../state/link-record.ts";

interface Flags extends SshFlags {
  readonly hereOnly?: boolean;
}

export function unlinkCommand(context: Context): Command {
  const command = defineCommand("unlink", "end a link, and take back on both sides what it had added", [
    "openclaw pair unlink cloud.example",
    "openclaw pair unlink cloud.example --here-only",
  ])
    .argument("<peer>", "the link's name, or the peer's device id or a prefix of it")
    .option("--here-only", "leave the other side alone, for one that cannot be reached any more");
  return addSshOptions(command).action(async (wanted: string, flags: Flags) => {
    const { findLink } = await import("../../link-directory.ts");
    const record = await findLink(context, wanted);
    context.extendTimeout(30_000);
    // The far side first: a link that is left there only would be forgotten here.
    const there = await unlinkThere(context, record, flags);
    if (!there) await stopTunnel(context, record);
    const here = await unlinkHere(context, record);
    const { name, peer } = record;
    context.output.result({ peer: name, deviceId: peer.deviceId, here, there }, (value) =>
      value.there
        ? `the link with ${name} is ended on both sides`
        : `the link with ${name} is ended here; on ${peer.host} it is ended with openclaw pair unlink and this machine's name there`,
    );
  });
}

async function stopTunnel(context: Context, record: LinkRecord): Promise<void> {
  const { tunnelOf } = await import("../../link-directory.ts");
  const { closeTunnel } = await import("../../../tunnel/control-client.ts");
  const tunnel = await tunnelOf(context, record);
  if (tunnel !== undefined) await closeTunnel(tunnel, context.oneShotSignal);
}

/** True when the other side has nothing of the link any more. From the machine that is only linked to, there is no way there. */
async function unlinkThere(context: Context, record: LinkRecord, { hereOnly, ...given }: Flags): Promise<boolean> {
  const { way } = record;
  if (way === undefined || hereOnly === true) return false;
  const { visitFarEnd } = await import("../../link-host.ts");
  const { deviceId } = await context.identity();
  const formerIds = await context.formerIds();
  const flags: LinkFlags = { remoteOpenclaw: "openclaw", ...way.flags, ...given };
  try {
    await visitFarEnd(context, way.destination, flags, async (line) => {
      // Nothing is stopped for a far side that cannot do its part.
      await line.ask("look");
      await stopTunnel(context, record);
      await line.ask("remove", { deviceId, formerIds });
    });
  } catch (error) {
    if (!isFailure(error)) throw error;
    throw new OpenClawError(error.code, error.message, {
      hint: "nothing was ended here; with --here-only the other side is left alone, and its share is ended there",
      fix: context.pasteable(`openclaw pair unlink ${record.name} --here-only`),
      details: error.details,
      cause: error,
    });
  }
  return true;
}

async function unlinkHere(context: Context, record: LinkRecord): Promise<boolean> {
  const { LinkEnd } = await import("../../link-end.ts");
  const { gatewayHere } = await import("../../link-directory.ts");
  await using end = new LinkEnd(context, gatewayHere(record));
  return await end.remove(record.peer.deviceId);
}

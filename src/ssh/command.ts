/** A command on the server's machine, over an SSH connection that is open. */
import { OpenClawError } from "../errors.ts";
import type { SshConnection } from "./connect.ts";
import type { ClientChannel } from "./ssh2.ts";

/** Starts `command` with the login shell over there (RFC 4254 § 6.5). Throws `ssh` when the server runs none for us, or is lost. */
export async function startCommand({ client, where }: SshConnection, command: string): Promise<ClientChannel> {
  const { promise, resolve, reject } = Promise.withResolvers<ClientChannel>();
  const refused = (cause?: Error) => {
    reject(
      new OpenClawError("ssh", `${where} runs no command for us${cause === undefined ? "" : ` (${cause.message})`}`, {
        hint: "the key may be restricted to forwards in authorized_keys there",
        cause,
      }),
    );
  };
  const gone = () => refused();
  client.once("close", gone);
  try {
    client.exec(command, (error, channel) => (error === undefined ? resolve(channel) : refused(error)));
    return await promise;
  } catch (error) {
    if (error instanceof OpenClawError) throw error;
    throw new OpenClawError("ssh", `${where} is not connected any more`, { cause: error });
  } finally {
    client.off("close", gone);
  }
}

/** One shell on the server answers question after question, whatever else its start files say. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { connectSsh } from "../../src/ssh/connect.ts";
import { startSshd } from "../support/sshd.ts";
import { optionsFor, temporaryDirectory } from "../tunnel/world.ts";

test("tells what each command printed and how it ended", async () => {
  await using server = await startSshd({ config: ["SetEnv SHLVL=5"] });
  await using connection = await connectSsh(optionsFor(server));
  const { shell } = connection;
  const answers = [shell.ask("echo one; echo two"), shell.ask("false"), shell.ask("(exit 9)"), shell.ask("printf abc")];
  expect(await Promise.all(answers)).toEqual([
    { output: "one\ntwo", status: 0 },
    { output: "", status: 1 },
    { output: "", status: 9 },
    { output: "abc", status: 0 },
  ]);
  expect(shell.isReady).toBe(true);
  expect(connection.shell).toBe(shell);
});

test("leaves out what start files print, however much", async () => {
  await using directory = await temporaryDirectory();
  const startFile = join(directory.path, "start");
  await writeFile(startFile, 'for i in $(seq 2000); do echo "welcome =0"; done; echo =1');
  await using server = await startSshd({ config: [`SetEnv BASH_ENV=${startFile} SHLVL=5`] });
  await using connection = await connectSsh(optionsFor(server));
  expect(await connection.shell.ask("echo $((6 * 7))")).toEqual({ output: "42", status: 0 });
});

test("has no answer where there is no shell, and none any more when it or the connection has ended", async () => {
  await using strict = await startSshd({ config: ["ForceCommand false"] });
  await using refused = await connectSsh(optionsFor(strict));
  await refused.shell.ready;
  expect(refused.shell.isReady).toBe(false);
  expect(await refused.shell.ask("echo hello")).toBeUndefined();

  await using server = await startSshd({ config: ["SetEnv SHLVL=5"] });
  const connection = await connectSsh(optionsFor(server));
  await connection.shell.ready;
  const { shell } = connection;
  const pending = shell.ask("sleep 600");
  connection.socket.destroy();
  expect(await pending).toBeUndefined();
  expect(shell.isReady).toBe(false);
  await connection.close();
  expect(await connection.shell.ask("echo hello")).toBeUndefined();
});

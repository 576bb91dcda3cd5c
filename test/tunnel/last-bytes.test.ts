/** What was read before an end arrives, however small the peer's window and however slow who reads. */
import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { startSshd } from "../support/sshd.ts";
import { dial, readAll, sha256, startTarget } from "./tcp.ts";
import { local, optionsFor, remote, watchTunnel } from "./world.ts";

const payload = randomBytes(48 * 1024 * 1024);

test.each([
  ["remote", remote],
  ["local", local],
] as const)("a reader of a %s forward that has said all and is slow gets the last byte", async (_direction, parse) => {
  await using sshd = await startSshd();
  const allIsRead = Promise.withResolvers<void>();
  await using target = await startTarget((socket) => {
    socket.resume().end(payload, () => allIsRead.resolve());
  });
  await using watched = await watchTunnel({ ssh: optionsFor(sshd), forwards: [parse(`0:127.0.0.1:${target.port}`)] });
  const reader = await dial(watched.tunnel.forwards()[0]?.port ?? 0);
  reader.pause();
  reader.end();
  // More than the SSH window and every socket in between hold: the target is not done before somebody reads.
  const isDone = allIsRead.promise.then(() => true);
  for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
  await expect(Promise.race([isDone, Promise.resolve(false)])).resolves.toBe(false);
  const heard = readAll(reader);
  reader.resume();
  expect(sha256(await heard)).toBe(sha256(payload));
});

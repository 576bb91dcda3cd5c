/** An approvals file without a disk, with a lock that really excludes. */
import type { ApprovalsFile } from "../../../src/node/exec-approvals.ts";

export function approvalsInMemory(initial?: string): ApprovalsFile & { text(): string | undefined } {
  let text = initial;
  let last: Promise<unknown> = Promise.resolve();
  return {
    path: "/state/exec-approvals.json",
    text: () => text,
    read: async () => text,
    write: async (next) => {
      text = next;
    },
    withLock(action) {
      const mine = last.then(action, action);
      last = mine.catch(() => {});
      return mine;
    },
  };
}

/** Who may grant what: the rights a decision about somebody else's rights takes (protocol.md § 6.1, § 7.1). */
import { holdsScopes, operatorScopes } from "../protocol/vocabulary.ts";

/** Commands that run programs or change what may run: approving them takes admin. */
const powerful = new Set([
  "system.run",
  "system.run.prepare",
  "system.which",
  "browser.proxy",
  "fs.listDir",
  "terminal.upload",
  "system.execApprovals.get",
  "system.execApprovals.set",
]);

/**
 * Scopes that were asked for: those that exist here, and those that do not. A newer client may name some that we do not know; it is
 * let in without them and told so, because a name that nobody knows cannot be reviewed, and nobody may hold what nobody approved.
 */
export function sortScopes(asked: readonly string[]): {
  readonly known: readonly string[];
  readonly unknown: readonly string[];
} {
  const isKnown = (scope: string) => operatorScopes.some((known) => known === scope);
  if (asked.every(isKnown)) return { known: asked, unknown: [] };
  return { known: asked.filter(isKnown), unknown: asked.filter((scope) => !isKnown(scope)) };
}

/** The scopes it takes to approve this command list for a node. */
export function surfaceApprovalScopes(commands: readonly string[]): readonly string[] {
  if (commands.some((command) => powerful.has(command))) return ["operator.pairing", "operator.admin"];
  return commands.length > 0 ? ["operator.pairing", "operator.write"] : ["operator.pairing"];
}

/**
 * The scope a caller lacks to approve, rotate or revoke this role with these scopes, or undefined when it lacks none.
 * A role other than operator takes admin; operator scopes can only be given by who holds them.
 */
export function lacksToGrant(held: readonly string[], role: string, scopes: readonly string[]): string | undefined {
  if (role !== "operator") return holdsScopes(held, ["operator.admin"]) ? undefined : "operator.admin";
  return scopes.find((scope) => !holdsScopes(held, [scope]));
}

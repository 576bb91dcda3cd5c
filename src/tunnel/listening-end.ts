/** What a tunnel does with each of its forwards, whichever side listens. */
import type { Runtime } from "../runtime.ts";
import type { SshConnection } from "../ssh/connect.ts";
import type { Forward } from "./forward.ts";
import type { ConnectionLimits } from "./limits.ts";
import type { ForwardCheck } from "./report.ts";

export interface ListeningEnd extends AsyncDisposable {
  readonly forward: Forward;
  /** Listens, and passes on over `connection`. */
  listen(connection: SshConnection): Promise<void>;
  /** Resolves when it is known whether the target is there. */
  looked(): Promise<void>;
  /** The connection is gone, and there is no other yet. */
  lost(): void;
  /** Passes on over another connection from now on; what passes over the first one goes on there. */
  move(connection: SshConnection): Promise<void>;
  /** Tries the whole way, from the listening port to the target. Sends the target nothing. */
  check(): Promise<ForwardCheck>;
}

export interface Surroundings {
  readonly runtime: Runtime;
  readonly limits: ConnectionLimits | undefined;
  /** Called when a forward stops listening because of its target, and when it listens again. */
  readonly changed: (forward: Forward) => void;
}

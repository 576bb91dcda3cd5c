/** ssh-agent: which keys it holds, and one key of it at a time. */
import type { BaseAgent, IdentityCallback, ParsedKey, SignCallback, SigningRequestOptions } from "ssh2";
import { loadAgents } from "./ssh2.ts";

/** A key an agent holds, and the agent that signs with it. */
export interface AgentKey {
  readonly agent: BaseAgent;
  readonly key: ParsedKey;
}

type PublicKey = ParsedKey | Buffer | string;
type SignArguments = [
  key: PublicKey,
  data: Buffer,
  options: SigningRequestOptions | SignCallback,
  callback?: SignCallback,
];

/** The keys of the agent at `socketPath` (`SSH_AUTH_SOCK`), in its order; rejects when it does not answer. */
export async function listAgent(socketPath: string): Promise<AgentKey[]> {
  const { createAgent } = await loadAgents();
  const agent = createAgent(socketPath);
  const { promise, resolve, reject } = Promise.withResolvers<AgentKey[]>();
  agent.getIdentities((error, identities) => {
    if (error) return reject(error);
    // Keys of types the library does not know are left out by it already.
    resolve(
      (identities ?? []).flatMap((key) => (typeof key === "object" && "getPublicSSH" in key ? { agent, key } : [])),
    );
  });
  return promise;
}

/** An agent that knows one key only: so each is offered on its own, in our order and with its name. */
export async function agentOfOneKey({ agent, key }: AgentKey): Promise<BaseAgent> {
  const { BaseAgent: Base } = await loadAgents();
  class AgentOfOneKey extends Base {
    override getIdentities(callback: IdentityCallback): void {
      callback(undefined, [key]);
    }
    override sign(...[, data, options, callback]: SignArguments): void {
      if (typeof options === "function") agent.sign(key, data, options);
      else agent.sign(key, data, options, callback);
    }
  }
  return new AgentOfOneKey();
}

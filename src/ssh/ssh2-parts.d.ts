/** The parts of ssh2 that have no types of their own: the same things as its front door's. */
declare module "ssh2/lib/client.js" {
  const Client: typeof import("ssh2").Client;
  export default Client;
}
declare module "ssh2/lib/agent.js" {
  const agents: Pick<typeof import("ssh2"), "BaseAgent" | "createAgent">;
  export default agents;
}
declare module "ssh2/lib/protocol/keyParser.js" {
  const keys: Pick<typeof import("ssh2").utils, "parseKey">;
  export default keys;
}

/** Ports of this machine's loopback interface. */
import { type AddressInfo, createServer } from "node:net";

/** A port that nothing listens on. Take it soon: nothing keeps it free. */
export function freePort(): Promise<number> {
  return tryPort(0).then((port) => port!);
}

/** Whether nothing listens on the port. */
export async function isFree(port: number): Promise<boolean> {
  return (await tryPort(port)) !== undefined;
}

function tryPort(port: number): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE") resolve(undefined);
      else reject(error);
    });
    server.listen(port, "127.0.0.1", () => {
      const taken = (server.address() as AddressInfo).port;
      server.close(() => resolve(taken));
    });
  });
}

/**
 * What the two directories of the local platform have in common as processes of their own: one JSON line on
 * standard output once they serve, and an orderly end.
 */

/** The line a directory process prints when it is ready; the password stays in a file of mode 0600. */
export interface DirectoryReady {
  readonly ready: true;
  /** `ldaps://host:port` */
  readonly url: string;
  /** File with the certificate (PEM) of the authority to trust. */
  readonly ca: string;
  /** The name the server's certificate is issued to. */
  readonly serverName: string;
  readonly bindDn: string;
  readonly bindPasswordFile: string;
  readonly baseDn: string;
  /** DN of the only OU in which the bind account may write. */
  readonly guestOu: string;
}

/**
 * Announces a directory and stops it at SIGTERM or SIGINT, or, with `exitWithParent`, when standard input
 * closes, which the system does when the parent dies.
 */
export function announce(ready: DirectoryReady, exitWithParent: boolean, stop: () => Promise<void>): void {
  let stopping = false;
  const end = () => {
    if (stopping) return;
    stopping = true;
    stop().then(
      () => process.exit(0),
      (error: unknown) => {
        console.error(error instanceof Error ? error.message : error);
        process.exit(1);
      },
    );
  };
  process.on("SIGTERM", end);
  process.on("SIGINT", end);
  if (exitWithParent) process.stdin.on("end", end).on("close", end).resume();
  console.log(JSON.stringify(ready));
}

import { setTimeout as sleep } from 'node:timers/promises';
import { awayOf, TokenAway } from './away.ts';
import { type Cryptoki, codeOf, type Handle, initialize, nameOf, type TokenInfo } from './cryptoki.ts';
import { codes, pinRefusals, sessionFlags, tokenFlags, userType } from './numbers.ts';
import { type ReadPin, readPin } from './pin.ts';
import type { OpenedToken, TokenSettings } from './protocol.ts';
import { SessionPool } from './session-pool.ts';
import { findSlot, trimmed } from './slots.ts';

/** Milliseconds that one operation may take; making a key has more: RSA-4096 takes seconds. */
export const operationLimitMs = 2_000;
export const generationLimitMs = 30_000;

/** Operations that ran out of their time get so long to come back before the module is finalized, in milliseconds. */
const drainLimitMs = 3_000;

/**
 * A logged-in token: module, slot and sessions. Whatever it was told of the token ends with `open`, which begins anew:
 * handles, too.
 */
export class Token {
  readonly cryptoki: Cryptoki;
  readonly #descriptor: number;
  #settings: TokenSettings | undefined;
  #loaded = false;
  #initialized = false;
  #slot: Handle | undefined;
  #info: TokenInfo | undefined;
  #listed: ReadonlySet<number> = new Set();
  #sessions: SessionPool | undefined;
  #loggingIn: Promise<void> | undefined;
  /** Grows with each opening: handles of an earlier one are of nothing. */
  generation = 0;

  /** `descriptor`: of the PIN in this process, where the settings say `fd:`. */
  constructor(cryptoki: Cryptoki, descriptor: number) {
    this.cryptoki = cryptoki;
    this.#descriptor = descriptor;
  }

  get mechanisms(): ReadonlySet<number> {
    return this.#listed;
  }

  /** Drain, finalize, initialize, log in. Throws TokenAway. `refusedPin`: of a PIN that was refused before, which is not tried. */
  async open(settings: TokenSettings, refusedPin: string | undefined): Promise<OpenedToken> {
    this.#settings = settings;
    await this.close();
    try {
      if (!this.#loaded) this.cryptoki.load(settings.module);
      this.#loaded = true;
    } catch {
      throw new TokenAway(`the module ${settings.module} cannot be loaded`);
    }
    this.generation++;
    try {
      const locks = initialize(this.cryptoki);
      this.#initialized = true;
      this.#slot = findSlot(this.cryptoki, settings.token);
      this.#info = this.cryptoki.C_GetTokenInfo(this.#slot);
      this.#listed = new Set(this.cryptoki.C_GetMechanismList(this.#slot));
      const slot = this.#slot;
      const open = () => this.cryptoki.C_OpenSession(slot, sessionFlags.rw | sessionFlags.serial);
      const first = open();
      this.#login(first, refusedPin);
      this.#sessions = new SessionPool(this.cryptoki, open, locks ? settings.sessions : 1, first);
    } catch (error) {
      throw awayOf(error);
    }
    return { kind: 'opened', token: this.description(), mechanisms: [...this.#listed] };
  }

  /** Throws TokenAway where operations are still under way: finalizing under them would end the process. */
  async close(): Promise<void> {
    const sessions = this.#sessions;
    this.#sessions = undefined;
    if (sessions !== undefined) {
      const drained = await Promise.race([sessions.drain(), sleep(drainLimitMs, false)]);
      if (drained === false) {
        this.#sessions = sessions;
        throw new TokenAway('operations do not come back', { timedOut: true });
      }
    }
    if (!this.#initialized) return;
    this.#initialized = false;
    try {
      this.cryptoki.C_Finalize();
    } catch {
      // What cannot be finalized is initialized again all the same, which says what is wrong.
    }
  }

  description(): OpenedToken['token'] {
    const { label, manufacturerID, model, serialNumber, firmwareVersion } = this.#info as TokenInfo;
    return {
      label: trimmed(label),
      manufacturer: trimmed(manufacturerID),
      model: trimmed(model),
      serial: trimmed(serialNumber),
      firmware: `${firmwareVersion.major}.${firmwareVersion.minor}`,
    };
  }

  /** Throws TokenAway where the token does not say that it is there. */
  probe(): void {
    if (this.#slot === undefined || this.#sessions === undefined) throw new TokenAway('it is not open');
    try {
      this.cryptoki.C_GetTokenInfo(this.#slot);
    } catch (error) {
      throw awayOf(error);
    }
  }

  /** Replaces idle sessions that have died. */
  keepAlive(): void {
    try {
      this.#sessions?.keepAlive();
    } catch (error) {
      throw awayOf(error);
    }
  }

  /**
   * Does something in a session of its own, which is replaced where it died. Throws TokenAway after `limitMs`; other errors are
   * the module's.
   */
  async inSession<T>(does: (session: Handle) => T | Promise<T>, limitMs = operationLimitMs): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      const sessions = this.#sessions;
      if (sessions === undefined) throw new TokenAway('it is not open');
      try {
        return await sessions.use(does, limitMs);
      } catch (error) {
        if (!sessions.isDeath(error)) throw error;
        // Once for an idle session that was dropped, once for the login that went with the last of them.
        if (attempt > 2) throw awayOf(error);
        if (codeOf(error) === codes.userNotLoggedIn) await this.#loginAgain(sessions);
        else sessions.keepAlive();
      }
    }
  }

  /** All sessions of the process at once. A login ends with the last of them. */
  #login(session: Handle, refusedPin: string | undefined): void {
    const settings = this.#settings as TokenSettings;
    const flags = this.#info?.flags ?? 0;
    if ((flags & tokenFlags.userPinLocked) !== 0) throw new TokenAway('its PIN is locked');
    if ((flags & tokenFlags.userPinFinalTry) !== 0)
      throw new TokenAway('one more wrong PIN would lock it: log in by its own tool first');
    const pin = this.#readPin(settings);
    if ('problem' in pin) throw new TokenAway(`no PIN: ${pin.problem}`);
    try {
      if (pin.stamp === refusedPin) throw new TokenAway(refusedText, { refusedPin: pin.stamp });
      logIn(this.cryptoki, session, pin.bytes);
    } catch (error) {
      const code = codeOf(error);
      if (code === codes.userAlreadyLoggedIn) return;
      if (code !== undefined && pinRefusals.has(code))
        throw new TokenAway(`${refusedText} (${nameOf(error)})`, { refusedPin: pin.stamp });
      throw error;
    } finally {
      pin.bytes.fill(0);
      setImmediate(overwriteYoung);
    }
  }

  #readPin({ pinFile, groupReadableSecrets }: TokenSettings): ReadPin {
    const rule = { groupAllowed: groupReadableSecrets };
    if (pinFile.startsWith('fd:')) return readPin(this.#descriptor, rule);
    const credential = /^credential:(.*)$/.exec(pinFile)?.[1];
    if (credential === undefined) return readPin(pinFile, rule);
    const directory = process.env.CREDENTIALS_DIRECTORY;
    return directory === undefined
      ? { problem: 'systemd gave no credentials' }
      : readPin(`${directory}/${credential}`, rule);
  }

  /** Once for all that find themselves logged out. */
  #loginAgain(sessions: SessionPool): Promise<void> {
    sessions.keepAlive();
    this.#loggingIn ??= sessions
      .use((session) => this.#login(session, undefined), operationLimitMs)
      .finally(() => {
        this.#loggingIn = undefined;
      });
    return this.#loggingIn;
  }
}

const refusedText = 'the token refused the PIN, which is not tried again until its file changes';

/**
 * The library takes a string, which nobody can wipe: it is garbage after this call, in V8's space for young objects. So many
 * others are made then that this space, of `--max-semi-space-size` of the worker, is written over.
 */
function logIn(cryptoki: Cryptoki, session: Handle, pin: Buffer): void {
  cryptoki.C_Login(session, userType, pin.toString('utf8'));
}

/** Once no frame of the stack can hold the string any more: what is alive would be moved, and so be copied. */
function overwriteYoung(): void {
  for (let count = 0; count < youngArrays; count++) lastYoung = new Array(youngArrayLength).fill(count);
}

/** So short that they reach to the end of each page. */
const youngArrayLength = 8;
/** Some 100 bytes each: eight times the space of 1 MiB, whose halves take turns. About 3 ms. */
const youngArrays = 80_000;
/** Seen from outside, so that no compiler leaves the arrays away. */
export let lastYoung: readonly number[] = [];

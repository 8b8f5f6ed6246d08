import { Argument, Command } from 'commander';
import { endsWithTwo } from './service.ts';

interface Node {
  /** Words before it, from the program on. */
  readonly path: readonly string[];
  readonly words: readonly string[];
  readonly options: readonly string[];
}

/** `completion`: prints what a shell reads. It comes from the commands themselves. */
export function completionCommand(program: () => Command): Command {
  return endsWithTwo(new Command('completion'))
    .description('print the completion of a shell')
    .addArgument(new Argument('<shell>').choices(['bash', 'zsh', 'fish']))
    .addHelpText(
      'after',
      `
Examples:
  source <(intaglio completion bash)
  source <(intaglio completion zsh)
  intaglio completion fish > ~/.config/fish/completions/intaglio.fish`,
    )
    .action((shell: 'bash' | 'zsh' | 'fish') => {
      process.stdout.write(shells[shell](nodesOf(program(), [])));
    });
}

function nodesOf(command: Command, path: readonly string[]): readonly Node[] {
  const words = command.commands.map((one) => one.name());
  const options = [...command.options.flatMap(({ long }) => long ?? []), '--help'];
  return [
    { path, words, options },
    ...command.commands.flatMap((one) => nodesOf(one, [...path, one.name()])),
  ];
}

function cases(nodes: readonly Node[]): string {
  return nodes
    .map(
      ({ path, words, options }) => `    '${path.join(' ')}') words='${[...words, ...options].join(' ')}' ;;`,
    )
    .join('\n');
}

/** The command so far: words that are no options. */
const bash = (nodes: readonly Node[]) => `_intaglio() {
  local path='' words word
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$word" in -*) break ;; *) path="\${path:+$path }$word" ;; esac
  done
  case "$path" in
${cases(nodes)}
    *) words='' ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _intaglio intaglio
`;

const zsh = (nodes: readonly Node[]) => `autoload -U +X bashcompinit && bashcompinit
${bash(nodes)}`;

function fish(nodes: readonly Node[]): string {
  const lines = nodes.flatMap(({ path, words, options }) => {
    const seen = path.map((word) => `__fish_seen_subcommand_from ${word}`);
    const notYet = words.length === 0 ? [] : [`not __fish_seen_subcommand_from ${words.join(' ')}`];
    const condition = [...seen, ...notYet].join('; and ');
    const when = condition === '' ? '' : ` -n '${condition}'`;
    return [
      ...words.map((word) => `complete -c intaglio${when} -f -a ${word}`),
      ...options.map((option) => `complete -c intaglio${when} -l ${option.slice(2)}`),
    ];
  });
  return `${lines.join('\n')}\n`;
}

const shells = { bash, zsh, fish };

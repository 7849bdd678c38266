#!/usr/bin/env bash
# LibriSpeech from an empty disk to a report, on one machine or several.
#   recipes/librispeech/run.sh --recipe NAME --root DIR [options] [KEY=VALUE ...]
#
#   --recipe NAME      supervised_100h, supervised_960h, 100h_860h, 10h_950h, 100h_860h_70m, or a path
#   --root DIR         holds LibriSpeech/, or gets it with --download
#   --lists DIR        Libri-Light's librispeech_finetuning, for the sets train-10h, train-1h, train-10min
#   --download         fetch the parts that are missing
#   --from, --to S     only these stages: data tokenizer check train decode score (default: all)
#   --ranks N          GPUs of this machine, or CPU ranks (default: the GPUs, or 1)
#   --hostfile FILE    several machines, as DeepSpeed has it ("HOST slots=8" a line), reached by ssh
#   --node-rank R --master-addr HOST [--master-port P] [--nodes N]
#                      no ssh: run this same command on every machine with its own R (see slurm.sh); the
#                      machines are those of the hostfile, or N with --ranks each. Only R = 0 does the
#                      stages before and after the training; the disk is shared.
#   KEY=VALUE          settings, over the recipe's
# Run it again after an interruption: the training goes on where it stopped; all else is done again.
# Exit status 75: the training was asked to stop, and has saved.
set -euo pipefail
here=$PWD self=$(realpath "${BASH_SOURCE[0]}")
cd "$(dirname "$self")/../.."

absolute() { case $1 in /*) echo "$1" ;; *) echo "$here/$1" ;; esac; }
die() { echo "run.sh: $*" >&2; exit 2; }
recipe= root= lists= first=data last=score ranks= hostfile= node_rank= master_addr= master_port=29500 nodes=1
download=() settings=()
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) sed -n '2,21s/^# \{0,1\}//p' "$self"; exit 0 ;;
        --download) download=(--download); shift ;;
        --recipe | --root | --lists | --from | --to | --ranks | --hostfile | --node-rank | --master-addr \
            | --master-port | --nodes)
            [ $# -ge 2 ] || die "$1 wants a value"
            case $1 in
                --recipe) recipe=$2 ;; --root) root=$(absolute "$2") ;; --lists) lists=$(absolute "$2") ;; --from) first=$2 ;; --to) last=$2 ;;
                --ranks) ranks=$2 ;; --hostfile) hostfile=$(absolute "$2") ;; --node-rank) node_rank=$2 ;;
                --master-addr) master_addr=$2 ;; --master-port) master_port=$2 ;; --nodes) nodes=$2 ;;
            esac
            shift 2 ;;
        --*=*) die "unknown option '$1'; options are written '--name value', see --help" ;;
        *=*) settings+=("$1"); shift ;;
        *) die "unknown option '$1'; see --help" ;;
    esac
done
[ -n "$recipe" ] || die "--recipe is missing; see --help"
for name in ranks nodes node_rank master_port; do
    [[ ${!name:-0} =~ ^[0-9]+$ ]] || die "--${name//_/-} ${!name}: give a whole number"
done
if [ -f "$(absolute "$recipe")" ]; then
    recipe=$(absolute "$recipe")
else
    [ -f "$recipe" ] || recipe=recipes/librispeech/${recipe%.yaml}.yaml
fi
[ -f "$recipe" ] || die "--recipe $recipe: no such recipe; there are $(cd recipes/librispeech && ls -- *h*.yaml | tr '\n' ' ')"
if [ -n "$hostfile" ]; then
    [ -f "$hostfile" ] || die "--hostfile $hostfile: no such file"
    hosts=$(sed 's/#.*//; /^[[:space:]]*$/d' "$hostfile")
    [ -n "$hosts" ] || die "--hostfile $hostfile: names no machine"
    wrong=$(grep -vE '^[[:space:]]*[^[:space:]]+[[:space:]]+slots=[1-9][0-9]*[[:space:]]*$' <<< "$hosts" | head -1) || true
    [ -z "$wrong" ] || die "--hostfile $hostfile: '$wrong' is not 'HOST slots=N', which every line must be"
    nodes=$(wc -l <<< "$hosts")
fi
if [ -n "$node_rank" ]; then
    [ -n "$master_addr" ] || die "--node-rank needs --master-addr"
    [ "$node_rank" -lt "$nodes" ] || die "--node-rank $node_rank: the machines are 0 to $((nodes - 1)); give --nodes or a --hostfile"
fi

stages=(data tokenizer check train decode score)
place() { local i; for i in "${!stages[@]}"; do [ "${stages[$i]}" = "$1" ] && echo "$i" && return; done
          die "no stage '$1'; stages are ${stages[*]}"; }
first_place=$(place "$first") || exit 2
last_place=$(place "$last") || exit 2
[ "$first_place" -le "$last_place" ] || die "--from $first --to $last: no stage, since $last comes before $first"
if [ -z "$hostfile$node_rank" ] && [ "$nodes" -gt 1 ] && [ "$first_place" -le 3 ] && [ "$last_place" -ge 3 ]; then
    die "--nodes $nodes needs --node-rank, on every machine its own; or give a --hostfile"
fi
started=$SECONDS
due() { # STAGE: whether it is asked for; says so. Other machines than the first only train.
    local here; here=$(place "$1")
    [ "$here" -ge "$first_place" ] && [ "$here" -le "$last_place" ] || return 1
    [ "${node_rank:-0}" = 0 ] || [ "$1" = train ] || return 1
    echo; echo "== $1 ($(((SECONDS - started) / 60)) min)"
}

if [ "${node_rank:-0}" = 0 ]; then bash tools/make_venv.sh; fi
until [ -x .venv/bin/asr ]; do # the first machine is making it, on the disk that is shared
    [ $((SECONDS - started)) -lt 1800 ] || die "$PWD/.venv: not there; start --node-rank 0, which makes it"
    sleep 5
done
bin=$PWD/.venv/bin asr=$PWD/.venv/bin/asr
export OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# Of torchrun: how long ranks that were told to stop may take to save, 30 otherwise.
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-100}

setting() { # NAME: a setting in force, a word a line
    "$bin/python" - "$1" "$recipe" "${settings[@]}" <<'PYTHON'
import functools, sys
from asr.config.recipe import load_config
from asr.errors import UserError
try:
    config = load_config(sys.argv[2], sys.argv[3:])
except UserError as error:
    print(f"run.sh: {error}", file=sys.stderr)
    sys.exit(2)
value = functools.reduce(getattr, sys.argv[1].split("."), config)
print(*(value if isinstance(value, list) else [value]), sep="\n")
PYTHON
}
data=$(setting corpus.directory)
exp=$(setting output)
mapfile -t test_sets < <(setting corpus.test | sed '/^$/d')

if due data; then
    [ -n "$root" ] || die "--root is missing: the folder that holds LibriSpeech/"
    mapfile -t sets < <({ setting corpus.labelled; setting corpus.untranscribed; setting corpus.dev
                          setting corpus.test; } | sed '/^$/d' | sort -u)
    parts=() limited=() sharded=()
    for name in "${sets[@]}"; do
        [ "$name" = "${name%.shar}" ] || sharded+=("${name%.shar}")
        name=${name%.shar}
        case $name in
            train-10h | train-1h | train-10min) limited+=("${name#train-}") ;;
            *-without-*) parts+=("${name%-without-*}"); limited+=("${name##*-without-}") ;;
            *) parts+=("$name") ;;
        esac
    done
    if [ ${#limited[@]} -gt 0 ]; then
        for part in train-clean-100 train-clean-360 train-other-500; do # those that are there, or all
            if [ ${#download[@]} -gt 0 ] || [ -d "$root/LibriSpeech/$part" ] || [ -d "$root/$part" ]; then parts+=("$part"); fi
        done
    fi
    "$asr" prepare librispeech --root "$root" --output "$data" --parts $(printf '%s\n' "${parts[@]}" | sort -u) "${download[@]}"
    if [ ${#limited[@]} -gt 0 ]; then
        [ -n "$lists" ] || die "--lists is missing: the folder librispeech_finetuning of Libri-Light"
        "$asr" prepare librilight --lists "$lists" --data "$data" --sizes "${limited[@]}"
    fi
    [ ${#sharded[@]} -eq 0 ] || "$asr" prepare shar --data "$data" --sets "${sharded[@]}"
fi

if due tokenizer; then
    if [ "$(setting tokenizer.kind)" = characters ]; then
        echo "characters: nothing to train"
    else
        model=$(setting tokenizer.sentencepiece_model)
        [ "$(basename "$model")" = tokenizer.model ] || [ -f "$model" ] \
            || die "tokenizer.sentencepiece_model $model: name it FOLDER/tokenizer.model, or make it yourself"
        mapfile -t labelled < <(setting corpus.labelled | sed "s#.*#$data/&.jsonl.gz#; s#\.shar\.jsonl\.gz\$#.shar#")
        [ -f "$model" ] || "$asr" prepare tokenizer --cuts "${labelled[@]}" --output "$(dirname "$model")"
    fi
fi

gpus=$("$bin/python" -c 'import torch; print(torch.cuda.device_count())' 2>/dev/null || echo 0)
ranks=${ranks:-$((gpus > 0 ? gpus : 1))}
world=$((ranks * nodes))
if [ -n "$hostfile" ]; then
    world=$(sed 's/.*slots=//' <<< "$hosts" | awk '{ n += $1 } END { print n }')
fi

if due check; then
    "$asr" check "$recipe" --ranks "$world" "${settings[@]}"
fi

. tools/signals.sh
if due train; then
    status=0
    train=(asr train "$recipe" "${settings[@]}")
    if [ -n "$hostfile" ]; then
        launch=("$bin/deepspeed" --hostfile "$hostfile" --master_port "$master_port")
        [ -z "$master_addr" ] || launch+=(--master_addr "$master_addr")
        [ -z "$node_rank" ] || launch+=(--no_ssh --node_rank "$node_rank")
        export PATH=$bin:$PATH
        passing_signals "${launch[@]}" --module "${train[@]}" || status=$?
    elif [ -n "$node_rank" ]; then
        passing_signals "$bin/torchrun" --nnodes "$nodes" --node-rank "$node_rank" \
            --nproc-per-node "$ranks" --master-addr "$master_addr" --master-port "$master_port" \
            -m "${train[@]}" || status=$?
    elif [ "$ranks" -gt 1 ]; then
        passing_signals "$bin/torchrun" --standalone --nproc-per-node "$ranks" -m "${train[@]}" || status=$?
    else
        passing_signals "$asr" "${train[@]:1}" || status=$?
    fi
    [ "${node_rank:-0}" = 0 ] || [ -n "$stopped" ] || exit "$status"
    if [ ! -e "$exp/complete.json" ] && { [ -n "$stopped" ] || [ "$status" = 0 ] || [ "$status" = 75 ]; }; then
        echo "run.sh: $exp was stopped before its end; run the same command to go on" >&2
        exit 75
    fi
    [ "$status" = 0 ] || exit "$status"
    [ "${node_rank:-0}" = 0 ] || exit 0
fi

if due decode; then
    for name in "${test_sets[@]}"; do
        for model in teacher student; do
            "$asr" decode "$exp" "$data/$name.jsonl.gz" --model "$model"
        done
    done
fi

if due score; then
    "$asr" score "$exp"
    "$asr" report "$exp"
fi

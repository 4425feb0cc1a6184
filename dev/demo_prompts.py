"""Take what the demo has learned into the package, for a studio without a model.

    mmseg-ssprompt demo
    python -m dev.demo_prompts work_dirs/demo

Tensors and what they say of themselves are taken; the config and its paths are not.
"""

import argparse
from pathlib import Path

from mmseg_ssprompt.prompt_files.prompt_file import read_prompt_source, write_prompts

from .studies.processes import ROOT

OUT = ROOT / 'mmseg_ssprompt' / 'assets' / 'prompts-tiny_shapes.safetensors'


def main() -> None:
    parser = argparse.ArgumentParser(description='Take the prompts of the demo into the package')
    parser.add_argument('work_dir', type=Path, help="the demo's")
    parser.add_argument('--out', type=Path, default=OUT)
    args = parser.parse_args()
    checkpoint = (args.work_dir / 'train' / 'last_checkpoint').read_text(encoding='utf-8').strip()
    source = read_prompt_source(checkpoint)
    write_prompts(source.state_dict, {}, args.out)
    print(f'{args.out}: {args.out.stat().st_size:,} bytes')


if __name__ == '__main__':
    main()

"""Packaging; the tools' settings are in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


def read_requirements(name):
    """The lines of a requirements file that name a package."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text(encoding='utf-8').splitlines()
    return [line for line in lines if line and not line.startswith(('#', '-'))]


def read_version():
    """The version, without importing the package."""
    namespace = {}
    exec((ROOT / 'mmseg_ssprompt' / 'version.py').read_text(encoding='utf-8'), namespace)
    return namespace['__version__']


class BuildWithConfigs(build_py):
    """Put configs and tools into the package, where openmim and ``mmseg-ssprompt`` look for them.

    An editable install has no copies: it finds those of the checkout.
    """

    def run(self):
        """Build, and copy."""
        package = Path(self.build_lib) / 'mmseg_ssprompt'
        if not self.editable_mode:
            shutil.rmtree(package, ignore_errors=True)  # modules that are gone since another build
        super().run()
        if self.editable_mode:
            return
        folder = package / '.mim'
        for name in ('configs', 'tools'):
            ignored = shutil.ignore_patterns('__pycache__', '.*')
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        shutil.copy2(ROOT / 'model-index.yml', folder)


setup(
    name='mmseg-ssprompt',
    version=read_version(),
    description='SSPrompt for MMSegmentation: learn the prompts of a frozen promptable segmenter',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    author='mmseg_ssprompt authors',
    license='Apache-2.0',
    license_files=['LICENSE'],
    keywords=[
        'computer vision',
        'semantic segmentation',
        'prompt learning',
        'segment anything',
        'few-shot',
        'mmsegmentation',
    ],
    classifiers=[
        'Development Status :: 4 - Beta',
        'Environment :: Console',
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3 :: Only',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Topic :: Scientific/Engineering :: Image Recognition',
        'Typing :: Typed',
    ],
    python_requires='>=3.10',
    packages=find_packages(include=['mmseg_ssprompt', 'mmseg_ssprompt.*']),
    py_modules=['mmseg_ssprompt_command'],
    package_data={'mmseg_ssprompt': ['assets/*', 'fitting/*.html', 'py.typed', 'studio/studio.*']},
    cmdclass={'build_py': BuildWithConfigs},
    entry_points={'console_scripts': ['mmseg-ssprompt = mmseg_ssprompt_command:main']},
    # Nothing that another package may need in a version of its own, and no bounds, so that pip
    # replaces nothing that is there. torch, mmengine, mmcv and mmsegmentation are extras, and what
    # is missing or too old is said when the package is imported (compat.py).
    install_requires=read_requirements('runtime'),
    extras_require={
        'torch': ['torch>=2.1', 'torchvision>=0.16'],
        'openmmlab': [
            'mmcv-lite>=2.0.0,<2.2.0',
            'mmengine>=0.10.4,<1.0.0',
            'mmsegmentation>=1.2.2,<1.3.0',
        ],
        'onedl': [
            'onedl-mmcv>=2.3.6',
            'onedl-mmengine>=0.10.12',
            'onedl-mmsegmentation>=1.4.2',
        ],
        # For SEEM with DaViT.
        'seem': ['timm>=1.0.12'],
        # For the AP of objects: by COCO's rules, and by those of Cityscapes.
        'instances': ['faster-coco-eval>=1.6'],
        'cityscapes': ['cityscapesscripts>=2.2.4'],
        # For predictions of GeoTIFFs that keep their place.
        'geo': ['rasterio>=1.3'],
        # For the page in the browser.
        'studio': ['gradio>=6.0'],
        # For ONNX files, and for comparing what they give with PyTorch.
        'onnx': ['onnx>=1.18', 'onnxruntime>=1.22', 'onnxscript>=0.5'],
        # For prompts in a repository of the Hugging Face Hub.
        'hub': ['huggingface_hub>=0.34'],
        'tests': read_requirements('tests'),
    },
    zip_safe=False,
)

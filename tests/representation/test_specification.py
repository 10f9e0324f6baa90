"""Specifications: presets, counts, keys, validation."""

import json
from fractions import Fraction

import pytest

from ase_wavescat.representation import Bands, Correlations, Maps, Moduli, ScatteringSpec
from ase_wavescat.representation.families.moduli.features import ModulusFeature
from ase_wavescat.representation.presets import PRESETS, papers_channels, preset
from ase_wavescat.representation.registry import parse_key
from ase_wavescat.system.errors import SpecError

LI_SI = ("Li", "Si")


def minimal(**overrides):
    settings = {
        "species": LI_SI,
        "wavelets": ((3, 0), (3, 1)),
        "scales": (0.0, 1.0),
        "beta": 0.6,
        "families": (Correlations(pair=Bands(4, 0.5)),),
    }
    return ScatteringSpec(**(settings | overrides))


def test_sinz2020_has_the_papers_features():
    features = preset("sinz2020", LI_SI).features
    by_order = [sum(isinstance(f, ModulusFeature) and len(f.path) == order for f in features) for order in range(3)]
    assert by_order == [20, 300, 3420]


def test_polynomial_is_the_same_tree_with_even_powers():
    family = preset("polynomial", LI_SI).families[0]
    assert family.powers == (Fraction(2), Fraction(4))
    assert family.second_input == "squared"
    assert len(preset("polynomial", LI_SI).features) == 3740 // 2


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("species", [LI_SI, ("Ge", "O", "Li")])
def test_keys_labels_and_json_round_trip(name, species):
    spec = preset(name, species)
    assert len(set(spec.keys)) == len(spec.keys)
    assert all(parse_key(f.key) == f and f.label for f in spec.features)
    assert ScatteringSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert spec.index(spec.keys[-1]) == len(spec.keys) - 1


def test_channels_of_the_papers():
    channels = dict(papers_channels((3, 14)))
    assert dict(channels["Li"]) == {3: 3.0, 14: 0.0}
    assert dict(channels["valence"]) == {3: 1.0, 14: 4.0}
    assert dict(channels["ionic"]) == {3: 2.0, 14: 10.0}
    assert dict(papers_channels((32,)))["valence"] == ((32, 4.0),)


def test_a_channel_is_found_by_its_name_or_the_nearest_is_named():
    spec = preset("sinz2020", LI_SI)
    assert spec.channel("valence") == {3: 1.0, 14: 4.0}
    with pytest.raises(SpecError, match="no channel 'valance'; did you mean 'valence'"):
        spec.channel("valance")


def test_filled_shells_below_p_electrons_are_core():
    valence = dict(papers_channels((13, 30, 31, 50, 81, 82)))["valence"]
    assert dict(valence) == {13: 3.0, 30: 12.0, 31: 3.0, 50: 4.0, 81: 3.0, 82: 4.0}


def test_body_orders_count_the_atoms_of_a_feature():
    one = "Li,0,3,1*Si,0,3,1"
    keys = ["pair:Li-Si:0", f"atom:Li:{one}", f"band:Si|{one}:0", f"band:{one}|{one}:0", f"atom:Li:{one}|{one}"]
    assert [parse_key(key).body_order for key in keys] == [2, 3, 3, 4, 5]


@pytest.mark.parametrize("species", [("Si",), LI_SI, ("Li", "O", "Si")])
@pytest.mark.parametrize("span", [0.0, 1.0])
def test_features_are_counted_without_making_them(species, span):
    maps = Maps(((3, 0),), (0.0, 1.0), span=span)
    family = Correlations(
        pair=Bands(4, 0.5),
        atom_maps=Maps(((3, 0), (3, 1)), (0.0, 1.0), span=span),
        five_body=maps,
        grid_maps=maps,
        three_body=Bands(2, 0.8),
        four_body=Bands(1, 1.0),
    )
    spec = minimal(species=species, families=(family,))
    assert family.most_features(spec) == len(spec.features)


def test_maps_join_wavelets_of_one_l_within_the_span():
    maps = Maps(((3, 0), (3, 1)), (0.0, 0.5, 1.0), span=0.5).expand((3, 14))
    assert len(maps) == 2 * (5 + 5 + 3 + 4)
    assert all(m.first.wavelet.l == m.second.wavelet.l for m in maps)
    assert max(abs(m.first.wavelet.scale - m.second.wavelet.scale) for m in maps) == 0.5


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"wavelets": ((2, 2),)}, "n must be at least l [+] 1.*n = 2, l = 2"),
        ({"species": ("Xx",)}, "unknown element 'Xx'"),
        ({"species": ()}, "at least one species"),
        ({"beta": -1.0}, "beta must be a positive length in A, got -1.0"),
        ({"scales": (1.0, 0.0)}, "scales must ascend"),
        ({"species": (3.7,)}, "unknown atomic number 3.7"),
        ({"beta": "a"}, "beta must be a number, got 'a'"),
        ({"beta": True}, "beta must be a number, got True"),
        ({"scales": 1}, "scales are a sequence of numbers, got 1"),
        ({"wavelets": (3, 0)}, "wavelets are a sequence of pairs"),
        ({"wavelets": ((3.7, 1.2),)}, "whole number, got 3.7"),
        ({"scales": (float("nan"),)}, "finite"),
        ({"scales": (0.0, float("inf"))}, "finite"),
        ({"scales": (0.0, 2000.0)}, "scales are octaves"),
        ({"scales": tuple(0.01 * k for k in range(101))}, "there may be 100 scales, got 101"),
        ({"tolerance": 0.5}, "tolerance must lie in"),
        ({"families": ()}, "at least one feature family"),
        ({"families": (Moduli(),)}, "needs at least one channel"),
        ({"families": (Moduli(),), "channels": {"a": {3: 1.0}}}, "channel 'a' has no weight for .'Si'."),
        ({"families": (Correlations(atom_maps=Maps(((4, 0),), (0.0,))),)}, "wavelets .* that the spec does not list"),
        ({"families": (Correlations(atom_maps=Maps(((3, 0),), (5.0,))),)}, "scales .* that the spec does not list"),
        ({"families": (Correlations(pair=Bands(2, 0.5)),) * 2}, "each kind of family once"),
    ],
)
def test_bad_specs_are_refused_by_name(overrides, message):
    with pytest.raises(SpecError, match=message):
        minimal(**overrides)


def test_bad_families_are_refused():
    with pytest.raises(SpecError, match="powers q must be at least 1/4, got 0"):
        Moduli(powers=(Fraction(0),))
    with pytest.raises(SpecError, match="once each"):
        Moduli(powers=(2, 2))
    with pytest.raises(SpecError, match="orders must be given"):
        Moduli(orders=())
    with pytest.raises(SpecError, match="unknown element 'Xx'"):
        preset("correlations", ["Xx"])
    with pytest.raises(SpecError, match="go together"):
        Correlations(grid_maps=Maps(((3, 0),), (0.0,)))
    with pytest.raises(SpecError, match="pair is made by Bands"):
        Correlations(pair=12)
    with pytest.raises(SpecError, match=r"families and .'powers'. of a family cannot both be given"):
        preset("sinz2020", ["Si"], families=(), powers=(2,))
    with pytest.raises(SpecError, match="no preset None"):
        preset(None, ["Si"])
    with pytest.raises(SpecError, match="without any part"):
        Correlations()
    with pytest.raises(SpecError, match="band spacing must be positive"):
        Bands(3, 0.0)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"second_input": "cubed"}, "second_input is one of 'modulus', 'squared', got 'cubed'"),
        ({"second_orbitals": "all"}, "second_orbitals is one of 'any', 'same', 'ascending', got 'all'"),
        ({"normalisation": 1}, "normalisation is one of 'none', 'ratio', got 1"),
        ({"density_width": -0.1}, "density_width must be a number of A, zero or positive, got -0.1"),
        ({"density_width": float("inf")}, "density_width must be a number"),
        ({"softening": "much"}, "softening must be a number, zero or positive, got 'much'"),
        ({"scale_step": None}, "scale_step must be a number of octaves, got None"),
        ({"powers": 2}, "powers q are a sequence of numbers, got 2"),
        ({"powers": "12"}, "powers q are a sequence of numbers, got '12'"),
        ({"powers": ("a",)}, "powers q must be numbers or fractions"),
        ({"powers": ("1/100",)}, "at least 1/4, got 1/100"),
        ({"orders": (1.7,)}, "an order must be a whole number, got 1.7"),
        ({"orders": 1}, "orders are a sequence"),
    ],
)
def test_bad_options_of_moduli_are_refused_by_name(option, message):
    with pytest.raises(SpecError, match=message):
        Moduli(**option)


def test_paths_of_second_order():
    settings = {"channels": {"all": {3: 1, 14: 1}}, "wavelets": ((1, 0), (2, 0), (2, 1)), "scales": (0.0, 0.5)}

    def paths(**options):
        family = Moduli(powers=(1,), orders=(2,), **options)
        return {tuple((w.n, w.l) for w in f.path) for f in minimal(families=(family,), **settings).features}

    assert len(paths(scale_step=0.5)) == 9
    assert paths(scale_step=0.5, second_orbitals="same") == {
        ((n, l), (n2, l)) for n, l in settings["wavelets"] for n2, l2 in settings["wavelets"] if l2 == l
    }
    assert paths(scale_step=0.5, second_orbitals="ascending") == {((1, 0), (2, 0)), ((1, 0), (2, 1)), ((2, 0), (2, 1))}


def test_files_from_before_an_option_existed_load_with_its_default():
    spec = preset("sinz2020", LI_SI)
    data = spec.to_dict()
    for option in ("second_orbitals", "density_width", "normalisation"):
        del data["families"][0][option]
    assert ScatteringSpec.from_dict(data) == spec
    changed = Moduli(second_orbitals="same", density_width=0.5, normalisation="ratio", powers=(Fraction(1, 2),))
    data = minimal(families=(changed,), channels=spec.channels).to_dict()
    assert ScatteringSpec.from_dict(json.loads(json.dumps(data))).families == (changed,)


def test_keys_hold_every_digit_of_a_scale():
    maps = Maps(((3, 0),), (1 / 3, 1.0000001, 1.0000002))
    spec = minimal(scales=maps.scales, families=(Correlations(atom_maps=maps),))
    assert len(set(spec.keys)) == len(spec.keys)
    assert [parse_key(key) for key in spec.keys] == list(spec.features)


def test_unknown_keys_are_refused_with_the_nearest():
    data = minimal().to_dict()
    with pytest.raises(SpecError, match="unknown key 'scals' in the spec; did you mean 'scales'"):
        ScatteringSpec.from_dict(data | {"scals": [1.0]})
    data["families"][0]["pairs"] = None
    with pytest.raises(SpecError, match="unknown key 'pairs' in the correlations family; did you mean 'pair'"):
        ScatteringSpec.from_dict(data)
    with pytest.raises(SpecError, match="no preset 'sinz'; did you mean 'sinz2020'"):
        preset("sinz", LI_SI)
    with pytest.raises(SpecError, match="no feature 'pair:Li-Li:9'"):
        minimal().index("pair:Li-Li:9")


@pytest.mark.parametrize("key", ["", "pair", "pair:Li:1", "atom:Li:Xx,0,3,1*Li,0,3,1", "other:1:2", "modulus:a:b:"])
def test_unreadable_keys_are_refused(key):
    with pytest.raises(ValueError, match="cannot read the feature key"):
        parse_key(key)
